//! A newcomer takes one of the systems for their own: copies it, changes what they find, and is led to the end by what `validate` says.

use std::collections::BTreeMap;

use holdfast_testkit::example::example;

use crate::cases::said;

/// A repository while it is made out of another's.
struct Copy(BTreeMap<String, Vec<u8>>);

const APP: &str = "environments/blog-prod/blog.yaml";
const VALUES: &str = "environments/blog-prod/environment.yaml";

/// Sealed for a key that nobody has.
fn sealed(names: &[(&str, &[&str])]) -> String {
    let sealed = "'ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]'";
    let line = |name: &str, keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key}: {sealed}")).collect();
        format!("{name}: {{ {} }}\n", keys.join(", "))
    };
    let text: String = names.iter().map(|(name, keys)| line(name, keys)).collect();
    text + "sops:\n  age: [{ recipient: age1nobody, enc: nothing }]\n  lastmodified: '2026-01-01T00:00:00Z'\n  mac: 'ENC[AES256_GCM,data:CCCC,iv:CCCC,tag:CCCC,type:str]'\n"
}

impl Copy {
    fn write(&mut self, path: &str, text: impl Into<String>) {
        self.0.insert(path.to_owned(), text.into().into_bytes());
    }

    fn rename(&mut self, from: &str, to: &str) {
        let file = self.0.remove(from).unwrap_or_else(|| panic!("there is {from}"));
        self.0.insert(to.to_owned(), file);
    }

    fn edit(&mut self, path: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.0[path].clone()).unwrap();
        assert!(text.contains(from), "{path} has {from}");
        self.write(path, text.replace(from, to));
    }

    /// Asserts that all of this is said, each at a file and line, and returns how many mistakes there are.
    #[track_caller]
    fn is_told(&self, words: &[&str]) -> usize {
        let said = said(self.0.clone());
        for words in words {
            assert!(said.contains(words), "it should say `{words}`, and says:\n{said}");
        }
        let mistakes = said.lines().filter(|line| line.starts_with("error[")).count();
        assert_eq!(said.lines().filter(|line| line.trim_start().starts_with("--> ")).count(), mistakes, "{said}");
        mistakes
    }

    #[track_caller]
    fn is_valid(&self) {
        let said = said(self.0.clone());
        assert_eq!(said, "", "all is well");
    }
}

#[test]
fn a_copy_of_a_system_is_led_to_the_end_by_what_is_said() {
    let mut copy = Copy(BTreeMap::new());
    for (path, content) in example().files {
        if path == "holdfast.yaml" || path.starts_with("templates/") {
            copy.0.insert(path, content);
        } else if let Some(file) = path.strip_prefix("environments/shia-prod/") {
            copy.0.insert(format!("environments/blog-prod/{file}"), content);
        }
    }

    // Hosts first: where it runs, and where copies of its backups go.
    copy.is_told(&["the inventory has no host", "write `inventory/hosts.yaml` with `hosts:`"]);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0WcbFoFpb7NqnlkNnmPUDYkz2cXRQXZHGLlHbhJm4S";
    let host = |name: &str, address: &str| format!("  {name}:\n    address: {address}\n    host_key: {key}\n");
    let boxed = format!("hosts:\n{}", host("box", "192.0.2.9"));
    copy.write("inventory/hosts.yaml", boxed.clone());
    let told = ["there is no host `vps` in the inventory", "there is no host `vault` in the inventory", "hosts: box"];
    assert_eq!(copy.is_told(&told), 5);
    copy.write("inventory/hosts.yaml", boxed + &host("vault", "192.0.2.10"));
    copy.edit(VALUES, "hosts: [vps]", "hosts: [box]");

    // They have no staging yet.
    assert_eq!(copy.is_told(&["there is no environment `shia-stage`"]), 1);
    copy.edit("environments/blog-prod/shia.yaml", "      after: shia-stage\n", "");

    // Then what only they know: all secrets by name, and what makes them.
    let told = [
        "`blog-prod` has no secrets yet, and it needs app.secret_key, database.password, minio.password, minio.user, \
         openrouter.api_key, redis.password",
        "`holdfast secrets encrypt --recipient age1… > environments/blog-prod/secrets.sops.yaml`",
    ];
    assert_eq!(copy.is_told(&told), 1);
    let secrets = "environments/blog-prod/secrets.sops.yaml";
    let some: [(&str, &[&str]); 3] =
        [("database", &["password"]), ("redis", &["password"]), ("minio", &["user", "password"])];
    copy.write(secrets, sealed(&some));
    copy.is_told(&[
        "`secrets.app` is undefined",
        "environments/blog-prod/secrets.sops.yaml does not have it: add it there",
    ]);
    let all = [&some[..], &[("app", &["secret_key"]), ("openrouter", &["api_key"])]].concat();
    copy.write(secrets, sealed(&all));
    copy.is_valid();

    // Their own names, in whatever order they come across them.
    copy.rename("environments/blog-prod/shia.yaml", APP);
    assert_eq!(
        copy.is_told(&["the app `shia` is in a file named `blog.yaml`", "write `app: blog`, or rename the file"]),
        1
    );
    copy.edit(APP, "app: shia", "app: blog");
    copy.is_valid();
    copy.edit(APP, "shia_prod: web.api", "blog_prod: web.api");
    assert_eq!(
        copy.is_told(&["the site passes nothing to the upstream `blog_prod`", "proxy_pass http://blog_prod;"]),
        1
    );
    copy.edit(VALUES, "upstream: shia_prod", "upstream: blog_prod");
    copy.is_valid();
    copy.edit(VALUES, "chat.example.net", "blog.example.org");
    assert_eq!(
        copy.is_told(&["`prove` asks the site `chat.example.net`", "its sites are called `blog.example.org`"]),
        1
    );
    copy.edit(APP, "chat.example.net", "blog.example.org");
    copy.is_valid();
    copy.rename("templates/compose/shia-web.yaml.j2", "templates/compose/blog-web.yaml.j2");
    assert_eq!(
        copy.is_told(&[
            "there is no template `templates/compose/shia-web.yaml.j2`",
            "did you mean `compose/blog-web.yaml.j2`?"
        ]),
        1
    );
    copy.edit(APP, "compose/shia-web.yaml.j2", "compose/blog-web.yaml.j2");
    copy.edit(VALUES, "app_cpus", "web_cpus");
    copy.is_told(&["`vars.app_cpus` is undefined"]);
    copy.edit("templates/compose/blog-web.yaml.j2", "vars.app_cpus", "vars.web_cpus");
    copy.is_valid();

    // A second environment beside it on the same host, copied in turn.
    let first = copy.0.clone();
    for (path, content) in first.iter().filter(|(path, _)| path.starts_with("environments/blog-prod/")) {
        copy.0.insert(path.replace("blog-prod", "blog-stage"), content.clone());
    }
    let twice = copy.is_told(&[
        "the port `8403` is claimed twice on host `box`: by blog-prod/blog/web at environments/blog-prod/blog.yaml:",
        "the port `5557` is claimed twice",
        "the nginx upstream `blog_prod` is claimed twice",
        "give one of the two another port",
    ]);
    assert_eq!(twice, 4);
    let stage = APP.replace("blog-prod", "blog-stage");
    for (from, to) in [("8403", "8402"), ("8453", "8452"), ("5557", "5556"), ("blog_prod: web", "blog_stage: web")] {
        copy.edit(&stage, from, to);
    }
    copy.edit(&VALUES.replace("blog-prod", "blog-stage"), "upstream: blog_prod", "upstream: blog_stage");
    copy.is_valid();
}
