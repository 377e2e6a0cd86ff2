//! A built frontend in place of `cp -r dist/*`: taken over from a hand, switched under load with the API it belongs to, and back.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadReport, LoadSpec, release_at};
use holdfast_testkit::ops::{Ops, text};
use holdfast_testkit::quick;

const LINK: &str = "/var/www/shop";

const SITE: &str = "\
server {
    listen 8100;
    server_name quick.example.net;
    root /var/www/shop;
    index index.html;

    location /health {
        proxy_pass http://quick_web;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Connection \"\";
    }
    location / { try_files $uri $uri/ =404; }
}
";

/// A team whose CI puts archives on the management box.
struct Team<'a> {
    ops: Ops,
    lab: &'a Lab,
    archives: PathBuf,
}

impl Team<'_> {
    /// Builds a release as a bundler does: a page that names its release, a script with its name in it, a picture that stays.
    fn build(&self, release: &str) -> (String, String) {
        let dist = self.archives.with_file_name(format!("dist-{release}"));
        fs::create_dir_all(dist.join("assets")).unwrap();
        fs::write(dist.join("index.html"), format!("{{\"release\":\"{release}\"}}")).unwrap();
        fs::write(dist.join(format!("assets/app-{release}.js")), format!("{{\"release\":\"{release} script\"}}"))
            .unwrap();
        fs::write(dist.join("assets/logo.svg"), "<svg/>").unwrap();
        let file = format!("shop-{release}.tar");
        let archive = self.archives.join(&file);
        let tar = Command::new("tar").arg("-C").arg(&dist).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
        (file, text(&sum).split(' ').next().unwrap().to_owned())
    }

    /// Pushes a release of frontend and API.
    fn push(&self, release: &str) {
        let (file, sha256) = self.build(release);
        self.write(release, Some((&file, &sha256)));
    }

    fn write(&self, release: &str, archive: Option<(&str, &str)>) {
        let app = quick::FILES.iter().find(|(path, _)| *path == quick::APP).unwrap().1;
        let mut app = app.replace("release: v1\n", &format!("release: {release}\n"));
        if let Some((file, sha256)) = archive {
            let frontend = format!("  frontend:\n    static: {{ archive: {file}, sha256: {sha256}, path: {LINK} }}\n");
            app = app.replace("  edge:\n", &(frontend + "  edge:\n"));
        }
        self.ops.write(quick::APP, &app);
        self.ops.ship(release);
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.lab.hosts[0].address.parse().unwrap(), quick::PORT)
    }

    /// What answers at a path, by the release it names.
    fn at(&self, path: &str) -> Result<String, String> {
        release_at(self.address(), quick::HOST, path).map_err(|error| error.to_string())
    }

    /// Load on one file and on the API, until it is stopped.
    fn load(&self, get: &str) -> Load {
        Load::start(&LoadSpec {
            targets: vec![self.address()],
            host: quick::HOST.to_owned(),
            get: get.to_owned(),
            post: "/health".to_owned(),
            body: "{}".to_owned(),
            connections: 2,
            pause: Duration::from_millis(4),
            limit: Duration::from_secs(300),
        })
    }

    fn on_host(&self, argv: &[&str]) -> String {
        self.lab.exec(&self.lab.hosts[0].name, argv).trim().to_owned()
    }

    fn releases(&self) -> usize {
        self.on_host(&["find", "/var/www/.shop-releases", "-mindepth", "1", "-maxdepth", "1", "-type", "d"])
            .lines()
            .count()
    }
}

fn lost_nothing(what: &str, load: Load) -> LoadReport {
    let report = load.stop();
    eprintln!("{what}: {} requests, {} lost, by release {:?}", report.requests, report.failures, report.releases);
    assert_eq!(report.failures, 0, "{what}: {report:#?}");
    report
}

#[test]
#[ignore = "needs the lab"]
fn cap_33_a_frontend_is_switched_at_once_and_open_pages_find_what_they_ask_for() {
    let lab = Lab::up("front", "f", 1, &[]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    for (path, content) in quick::FILES {
        ops.write(path, if path.contains("nginx") { SITE } else { content });
    }
    let archives = ops.work.with_file_name("state").join("archives");
    fs::create_dir_all(&archives).unwrap();
    let team = Team { ops, lab: &lab, archives };
    let ops = &team.ops;
    let said = |arguments: &[&str]| {
        let output = ops.run_any(arguments);
        (output.status.code(), text(&output) + &String::from_utf8_lossy(&output.stderr))
    };

    // Somebody copied `dist` there by hand.
    team.on_host(&["mkdir", "-p", "/var/www/shop/assets"]);
    team.on_host(&[
        "sh",
        "-c",
        "cd /var/www/shop; echo '{\"release\":\"by hand\"}' >index.html; cp index.html assets/app-hand.js",
    ]);
    team.push("v1");
    let (code, plan) = said(&["plan", "prod", "--detailed-exitcode"]);
    assert!(code != Some(0) && plan.contains("foreign-resource") && plan.contains("--adopt"), "{plan}");
    ops.run(&["apply", "prod", "--yes", "--adopt"]);
    assert_eq!(team.at("/").as_deref(), Ok("v1"));
    assert_eq!(team.at("/assets/app-hand.js").as_deref(), Ok("by hand"), "a page that was open goes on");
    assert_eq!(team.on_host(&["cat", "/var/www/shop.adopted/index.html"]), "{\"release\":\"by hand\"}");
    ops.assert_plan_is_empty();

    // The next one, while pages of the old one are read and ask for their script.
    let (page, script) = (team.load("/index.html"), team.load("/assets/app-v1.js"));
    team.push("v2");
    let (_, plan) = said(&["plan", "prod"]);
    assert!(plan.contains("shop-v1.tar (3 files, 1 kB) → shop-v2.tar (3 files, 1 kB); it is sent"), "{plan}");
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(team.at("/").as_deref(), Ok("v2"));
    assert_eq!(team.at("/assets/app-v2.js").as_deref(), Ok("v2 script"));
    assert!(team.at("/assets/app-hand.js").is_err(), "what was kept for the release before is gone with it");
    ops.assert_plan_is_empty();
    // Back at once, with the scripts of both; no archive is needed for it.
    fs::rename(&team.archives, team.archives.with_file_name("elsewhere")).unwrap();
    ops.run(&["rollback", "prod", "quick", "--yes"]);
    fs::rename(team.archives.with_file_name("elsewhere"), &team.archives).unwrap();
    assert_eq!(team.at("/").as_deref(), Ok("v1"));
    assert_eq!(team.at("/assets/app-v2.js").as_deref(), Ok("v2 script"));
    let page = lost_nothing("pages", page);
    assert!(page.releases["v1"] > 0 && page.releases["v2"] > 0, "{:?}", page.releases);
    let script = lost_nothing("scripts of open pages", script);
    assert!(script.releases["v1 script"] > 0, "{:?}", script.releases);

    // A hand in the release, and a link that leads elsewhere, are seen and put right.
    team.push("v3");
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!((team.at("/").as_deref(), team.releases()), (Ok("v3"), 2));
    team.on_host(&["sh", "-c", "echo '{\"release\":\"hacked\"}' >/var/www/shop/index.html"]);
    let (_, plan) = said(&["plan", "prod"]);
    assert!(plan.contains("index.html was changed"), "{plan}");
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(team.at("/").as_deref(), Ok("v3"));
    assert_eq!(team.at("/assets/app-v1.js").as_deref(), Ok("v1 script"), "what is kept stays");
    team.on_host(&["ln", "-sfn", "/srv", LINK]);
    let (_, plan) = said(&["plan", "prod"]);
    assert!(plan.contains("it leads to /srv"), "{plan}");
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();

    // Another archive than git names, and one that would leave its folder, stop before any host changes.
    let (file, sha256) = team.build("v4");
    fs::write(team.archives.join(&file), "another").unwrap();
    team.write("v4", Some((&file, &sha256)));
    let (_, plan) = said(&["plan", "prod"]);
    assert!(plan.contains("bad-archive") && plan.contains("is another one than git names"), "{plan}");
    let dist = team.archives.with_file_name("dist-v4");
    std::os::unix::fs::symlink("/etc/shadow", dist.join("shadow")).unwrap();
    let (file, sha256) = team.build("v4");
    team.write("v4", Some((&file, &sha256)));
    let (_, plan) = said(&["plan", "prod"]);
    assert!(plan.contains("is a link; make it with"), "{plan}");
    assert_eq!(team.at("/").as_deref(), Ok("v3"));

    // Git has it no more: the link goes, the releases stay for the way back, and go with the app.
    team.write("v5", None);
    ops.run(&["apply", "prod", "--yes", "--allow-prune"]);
    let links = || team.on_host(&["sh", "-c", "ls -A /var/www | sort | tr '\\n' ' '"]);
    assert_eq!(links(), ".shop-releases html shop.adopted");
    ops.assert_plan_is_empty();
    ops.run(&["rollback", "prod", "quick", "--yes"]);
    wait_until("the page after a rollback", Duration::from_secs(10), || team.at("/").as_deref() == Ok("v3"));
    fs::remove_file(ops.work.join(quick::APP)).unwrap();
    ops.ship("without the app");
    ops.run(&["apply", "prod", "--yes", "--allow-prune"]);
    assert_eq!(links(), "html shop.adopted", "what was somebody's is never removed");
}
