//! A real sshd on loopback, in a mount namespace of its own, so that nothing outside is touched.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Inside the namespace: empty `/run` and `/var/lib`, a copy of `/etc`, a user `deploy`, then sshd. `$1` is the folder.
const SCRIPT: &str = r#"set -e
mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd
mkdir "$1/etc" && cp -a /etc/. "$1/etc" && mount --bind "$1/etc" /etc
mount -t tmpfs tmpfs /var/lib
echo 'deploy:x:1999:1999::/tmp:/bin/sh' >> /etc/passwd
echo 'deploy:x:1999:' >> /etc/group
echo 'deploy:*:19000:0:99999:7:::' >> /etc/shadow
if [ -e "$1/sudoers" ]; then install -m 0440 "$1/sudoers" /etc/sudoers.d/holdfast; fi
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"#;

pub(crate) struct Sshd {
    folder: tempfile::TempDir,
    process: Child,
    pub(crate) port: u16,
}

/// Returns why there can be no sshd here.
pub(crate) fn missing() -> Option<&'static str> {
    // The owner of /proc/self is the user this process runs as.
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let there = |path: &str| Path::new(path).exists();
    match (root, there("/usr/sbin/sshd"), there("/usr/bin/ssh-keygen")) {
        (false, ..) => Some("not root"),
        (_, false, _) | (_, _, false) => Some("openssh-server is not installed"),
        _ => None,
    }
}

/// Says a test did not run, past the capture of test output.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED 1 test: {test}: {why}");
}

impl Sshd {
    /// Starts one with these further lines of configuration, and a sudoers file when one is given.
    pub(crate) fn start(further: &str, sudoers: Option<&str>) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path();
        // The login of `deploy` reads its keys through here.
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["host", "other", "user", "stranger"] {
            let keygen =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path.join(name)).status();
            assert!(keygen.unwrap().success());
        }
        fs::copy(path.join("user.pub"), path.join("keys")).unwrap();
        fs::write(path.join("ssh_config"), "").unwrap();
        if let Some(sudoers) = sudoers {
            fs::write(path.join("sudoers"), format!("{sudoers}\n")).unwrap();
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let at = path.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/keys\nPidFile none\nStrictModes no\n\
             UsePAM no\nPermitRootLogin prohibit-password\nLogLevel DEBUG1\nSetEnv SHLVL=5\n{further}\n"
        );
        fs::write(path.join("sshd_config"), config).unwrap();
        let log = fs::File::create(path.join("log")).unwrap();
        let process = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", SCRIPT, "sshd"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Self { folder, process, port };
        sshd.until("it listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        sshd
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the public half of a key: `host`, `other`, `user` or `stranger`.
    pub(crate) fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap()).into_owned()
    }

    /// Returns a path as sshd's sessions see it.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.id()))
    }

    /// Returns the processes that serve connections.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        children_of(self.process.id())
    }

    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain until {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for process in self.sessions() {
            kill(process);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ends a process of this test at once.
pub(crate) fn kill(process: u32) {
    let _ = Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status();
}

fn children_of(parent: u32) -> Vec<u32> {
    processes().filter(|process| stat_parent(*process) == Some(parent)).collect()
}

/// Returns our own children that run `ssh`.
pub(crate) fn masters(control: &Path) -> Vec<u32> {
    let control = control.display().to_string();
    let of = |process: u32| fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    processes().filter(|process| String::from_utf8_lossy(&of(*process)).contains(&format!("{control}/"))).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat_parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
