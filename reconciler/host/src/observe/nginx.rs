//! Looks at nginx.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_protocol::{Digest, NginxLive, Observed, UnitLive};

use crate::digest;
use crate::exec::{Call, MAX_SHOWN, shown_tail};
use crate::paths::System;

/// nginx's unit on every distribution we know.
pub(super) const UNIT: &str = "nginx.service";

/// How long a test may take: it resolves the names of upstreams.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a passed test is believed while no file changed. What it depends on besides files is names that must resolve.
const GOOD_FOR: Duration = Duration::from_secs(600);

/// How long a failed one is: the cause may be gone without a file having changed.
const BAD_FOR: Duration = Duration::from_secs(10);

/// The most files of a configuration that are looked at.
const MAX_FILES: usize = 5000;

/// The largest file that is searched for the names of others, in bytes.
const MAX_SEARCHED: u64 = 1024 * 1024;

/// Tests nginx's configuration, and remembers the result as long as no file of it changed.
#[derive(Debug)]
pub(super) struct Nginx {
    system: System,
    /// Files and folders outside the tree that the configuration names.
    outside: BTreeSet<PathBuf>,
    tested: Option<Tested>,
}

#[derive(Debug)]
struct Tested {
    fingerprint: Digest,
    at: Instant,
    /// Empty when it passed.
    error: String,
}

impl Nginx {
    /// Returns one that has tested nothing yet.
    pub(super) fn new(system: System) -> Self {
        Self { system, outside: BTreeSet::new(), tested: None }
    }

    /// Looks at nginx, whose unit was seen like this.
    pub(super) fn look(&mut self, unit: Option<&Observed<UnitLive>>, now: Instant) -> Observed<NginxLive> {
        let program = self.system.program("nginx");
        let active = match unit {
            Some(Observed::Seen(unit)) => matches!(unit.active.as_str(), "active" | "reloading"),
            Some(Observed::Absent) if program.is_none() => return Observed::Absent,
            Some(Observed::Absent) => false,
            Some(Observed::Unknown(reason)) => return Observed::Unknown(reason.clone()),
            None => return Observed::Unknown(format!("{UNIT} was not looked at")),
        };
        let Some(program) = program else {
            return Observed::Unknown(format!("{UNIT} is there, but the program `nginx` is not where programs are"));
        };
        match self.test(&program, now) {
            Ok(error) => Observed::Seen(NginxLive { active, error }),
            Err(reason) => Observed::Unknown(reason),
        }
    }

    fn test(&mut self, program: &Path, now: Instant) -> Result<String, String> {
        let fingerprint = self.fingerprint(program);
        if let Some(tested) = &self.tested {
            let believed = if tested.error.is_empty() { GOOD_FOR } else { BAD_FOR };
            if tested.fingerprint == fingerprint && now.duration_since(tested.at) < believed {
                return Ok(tested.error.clone());
            }
        }
        self.tested = None;
        self.outside = outside(&self.tree());
        // What is tested is at least as new as this; a change during the test shows as another fingerprint next time.
        let fingerprint = self.fingerprint(program);
        let ask = |quiet_log| {
            let call = Call::new(program, crate::nginx::test(None, quiet_log)).deadline(DEADLINE);
            call.output().map_err(|error| error.to_string())
        };
        let mut output = ask(true)?;
        if crate::nginx::is_too_old(&output) {
            output = ask(false)?;
        }
        let error = match output.code {
            0 => String::new(),
            code => {
                let told = shown_tail(without_times(&String::from_utf8_lossy(&output.stderr)).as_bytes(), MAX_SHOWN);
                if told.is_empty() { format!("`nginx -t` exited with {code}") } else { told }
            }
        };
        self.tested = Some(Tested { fingerprint, at: now, error: error.clone() });
        Ok(error)
    }

    fn tree(&self) -> BTreeSet<PathBuf> {
        walk(&self.system.etc.join("nginx"))
    }

    fn fingerprint(&self, program: &Path) -> Digest {
        let mut bytes = Vec::new();
        for path in self.tree().iter().chain(&self.outside).map(PathBuf::as_path).chain([program]) {
            bytes.extend_from_slice(path.as_os_str().as_encoded_bytes());
            bytes.push(0);
            // Links are followed: a site is enabled by one.
            if let Ok(meta) = fs::metadata(path) {
                for number in [meta.dev(), meta.ino(), meta.size()] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                for number in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        digest::of(&bytes)
    }
}

/// Returns what nginx told without the time and process number in front of each line: the same fault must read the same each time,
/// for what was observed is part of a plan's identity.
///
/// # Source
/// nginx `src/core/ngx_log.c`: `1970/09/28 12:00:00 [emerg] 1234#5678: text`.
fn without_times(text: &str) -> String {
    let stripped = |line: &str| -> Option<String> {
        let (stamp, rest) = line.split_at_checked(20)?;
        let shape = stamp.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
        if !shape.eq(*b"0000/00/00 00:00:00 ") {
            return None;
        }
        let (level, rest) = rest.split_once(' ')?;
        let (process, message) = rest.split_once(": ")?;
        process.contains('#').then(|| format!("{level} {message}"))
    };
    text.lines().map(|line| stripped(line).unwrap_or_else(|| line.to_owned())).collect::<Vec<_>>().join("\n")
}

/// Returns all files and folders below a folder, itself included.
fn walk(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::from([folder.to_owned()]);
    let mut folders = VecDeque::from([folder.to_owned()]);
    while let Some(folder) = folders.pop_front() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if found.len() >= MAX_FILES {
                return found;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push_back(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// Returns what the configuration names outside its tree: further configuration, certificates, keys.
fn outside(tree: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut outside = BTreeSet::new();
    let mut to_search: VecDeque<PathBuf> = tree.iter().cloned().collect();
    while let Some(path) = to_search.pop_front() {
        if !fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_SEARCHED) {
            continue;
        }
        let Ok(content) = fs::read(&path) else { continue };
        for (named, include) in named_paths(&String::from_utf8_lossy(&content)) {
            let pattern = named.contains(['*', '?', '[']);
            let mut named = PathBuf::from(named);
            if pattern {
                named.pop();
            }
            let files = if pattern { walk(&named) } else { BTreeSet::from([named]) };
            for file in files {
                if outside.len() >= MAX_FILES {
                    return outside;
                }
                if !tree.contains(&file) && outside.insert(file.clone()) && include {
                    to_search.push_back(file);
                }
            }
        }
    }
    outside
}

/// Returns the absolute paths that a configuration names and `nginx -t` reads, and whether each is configuration itself. Reads a
/// superset: quoting and comments do not matter for what is only looked at.
fn named_paths(text: &str) -> Vec<(&str, bool)> {
    let mut paths = Vec::new();
    for directive in text.split([';', '{', '}', '\n']) {
        let mut words = directive.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let include = name == "include";
        if include || name.starts_with("ssl_") || name.ends_with("_ssl_certificate") || name == "load_module" {
            let absolute = words.map(|word| word.trim_matches(['"', '\''])).filter(|word| word.starts_with('/'));
            paths.extend(absolute.map(|path| (path, include)));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A host whose nginx accepts everything but a file with the word `broken`, and counts its runs.
    struct Host {
        folder: tempfile::TempDir,
        nginx: Nginx,
        now: Instant,
    }

    impl Host {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["etc/nginx/sites-enabled", "sites", "bin"] {
                fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            let system =
                System { etc: folder.path().join("etc"), programs: vec![folder.path().join("bin")], ..System::real() };
            let script = format!(
                "#!/bin/sh\necho run >> {0}/runs\nif grep -rqs broken {0}/etc/nginx/ {0}/sites/; then echo 'nginx: [emerg] bad' >&2; exit 1; fi\n",
                folder.path().display()
            );
            let program = folder.path().join("bin/nginx");
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            Self { folder, nginx: Nginx::new(system), now: Instant::now() }
        }

        fn look(&mut self) -> NginxLive {
            let unit = Observed::Seen(UnitLive {
                load: "loaded".to_owned(),
                active: "active".to_owned(),
                sub: "running".to_owned(),
                enabled: "enabled".to_owned(),
                restarts: 0,
                needs_reload: false,
                drop_ins: Vec::new(),
                main_pid: 1,
            });
            let seen = self.nginx.look(Some(&unit), self.now);
            seen.seen().unwrap_or_else(|| panic!("{seen:?}")).clone()
        }

        fn runs(&self) -> usize {
            fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default().lines().count()
        }
    }

    #[test]
    fn a_second_look_at_the_same_files_runs_nothing() {
        let mut host = Host::new();
        assert_eq!(host.look(), NginxLive { active: true, error: String::new() });
        assert_eq!(host.look(), NginxLive { active: true, error: String::new() });
        assert_eq!(host.runs(), 1);
        host.now += GOOD_FOR;
        host.look();
        assert_eq!(host.runs(), 2);
    }

    #[test]
    fn a_changed_file_behind_a_link_is_tested_and_its_error_told() {
        let mut host = Host::new();
        let site = host.folder.path().join("sites/a.conf");
        fs::write(&site, "server {}").unwrap();
        symlink(&site, host.folder.path().join("etc/nginx/sites-enabled/a.conf")).unwrap();
        assert_eq!(host.look().error, "");
        fs::write(&site, "server { broken }").unwrap();
        assert_eq!(host.look().error, "nginx: [emerg] bad");
    }

    #[test]
    fn the_same_fault_reads_the_same_each_time() {
        let told = "2026/11/21 09:01:42 [emerg] 7851#7851: unknown directive \"x\" in /a:1\nnginx: test failed\n";
        assert_eq!(without_times(told), "[emerg] unknown directive \"x\" in /a:1\nnginx: test failed");
        assert_eq!(without_times("2026/11/21 odd ünd short"), "2026/11/21 odd ünd short");
    }

    #[test]
    fn a_failed_test_is_soon_done_again() {
        let mut host = Host::new();
        fs::write(host.folder.path().join("etc/nginx/nginx.conf"), "broken").unwrap();
        host.look();
        host.look();
        assert_eq!(host.runs(), 1);
        host.now += BAD_FOR;
        host.look();
        assert_eq!(host.runs(), 2);
    }

    #[test]
    fn included_files_and_certificates_outside_the_tree_are_part_of_it() {
        let mut host = Host::new();
        let outside = host.folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        let certificate = host.folder.path().join("cert.pem");
        fs::write(&certificate, "old").unwrap();
        fs::write(outside.join("b.conf"), format!("ssl_certificate {};", certificate.display())).unwrap();
        fs::write(
            host.folder.path().join("etc/nginx/nginx.conf"),
            format!("http {{ include {}/*.conf; access_log /var/log/x; }}", outside.display()),
        )
        .unwrap();
        host.look();
        assert_eq!(host.runs(), 1);
        fs::write(&certificate, "renewed").unwrap();
        host.look();
        assert_eq!(host.runs(), 2);
        fs::write(outside.join("c.conf"), "").unwrap();
        host.look();
        assert_eq!(host.runs(), 3);
        host.look();
        assert_eq!(host.runs(), 3);
    }

    #[test]
    fn no_unit_and_no_program_is_absent_and_an_unknown_unit_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let system = System { programs: vec![folder.path().to_owned()], ..System::real() };
        let mut nginx = Nginx::new(system);
        assert_eq!(nginx.look(Some(&Observed::Absent), Instant::now()), Observed::Absent);
        let unknown = Observed::Unknown("no bus".to_owned());
        assert_eq!(nginx.look(Some(&unknown), Instant::now()), Observed::Unknown("no bus".to_owned()));
    }
}
