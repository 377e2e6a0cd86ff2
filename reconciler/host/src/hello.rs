//! Says what a host is and has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{Architecture, Capability, Hello, PROTOCOL_VERSION, Tool};
use serde::{Deserialize, Serialize};

use crate::disk::{Access, Disk};
use crate::docker::Engine;
use crate::exec::{Call, ExecError};
use crate::paths::{Root, System};
use crate::systemd::{BusError, Units};

/// How long a program may take to tell its version.
const DEADLINE: Duration = Duration::from_secs(20);

/// A table like the one of [`crate::transaction::switches`]; it is only checked, never loaded.
const CHECKED_TABLE: &str = "table ip holdfast_check {
  map switches { type inet_service : inet_service; elements = { 8101 : 8201 } }
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.83.1 meta l4proto tcp redirect to :tcp dport map @switches;
  }
}
";

/// Folders in which the Docker command looks for its plugins.
///
/// # Source
/// docker/cli `cli-plugins/manager/manager_unix.go`, and the folder of root's own configuration.
const PLUGIN_FOLDERS: [&str; 5] = [
    "/root/.docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What was found out by running programs, kept in a file: a connection is a new process, and a run of them takes longer than all
/// else a host says. Each entry holds as long as the programs it is about stay the same files.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    stamp: String,
    tool: Tool,
}

/// Returns what the host is and has.
pub fn hello(root: &Root, system: &System, units: &mut Units, engine: &mut Engine, fence: u64) -> Hello {
    let kernel_text = |path: &str| read_trimmed(&system.proc.join("sys/kernel").join(path));
    let boot_id = kernel_text("random/boot_id");
    let file = root.cache().join("tools.json");
    let mut told: Told = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let before = told.entries.len();
    let mut changed = false;
    let mut tool = |name: &str, files: &[PathBuf], extra: &str, ask: &dyn Fn() -> Tool| {
        let stamp = stamp(files, extra);
        match told.entries.get(name) {
            Some(entry) if entry.stamp == stamp => entry.tool.clone(),
            _ => {
                let tool = ask();
                // A tool that does not answer may do so next time.
                if !matches!(tool, Tool::Broken(_)) {
                    changed = true;
                    told.entries.insert(name.to_owned(), Entry { stamp, tool: tool.clone() });
                }
                tool
            }
        }
    };
    let nginx = tool("nginx", &candidates(system, "nginx"), "", &|| nginx_version(system));
    let mut plugins = candidates(system, "docker");
    plugins.extend(PLUGIN_FOLDERS.map(|folder| Path::new(folder).join("docker-compose")));
    plugins.extend(candidates(system, "docker-compose"));
    let compose = tool("compose", &plugins, "", &|| compose_version(system));
    let mut psql = candidates(system, "psql");
    // Debian's `psql` is a wrapper of the versions in here.
    psql.push(PathBuf::from("/usr/lib/postgresql"));
    let postgresql_client = tool("psql", &psql, "", &|| psql_version(system));
    let logrotate = tool("logrotate", &candidates(system, "logrotate"), "", &|| logrotate_version(system));
    // The kernel's part may change with a boot.
    let nft = tool("nft", &candidates(system, "nft"), &boot_id, &|| nft_version(system));
    if changed || told.entries.len() != before {
        keep(root, &file, &told);
    }
    let mut capabilities = BTreeSet::new();
    if matches!(nft, Tool::Version(_)) {
        capabilities.insert(Capability::NftRedirect);
    }
    Hello {
        protocol: PROTOCOL_VERSION,
        kernel: kernel_text("osrelease"),
        distribution: distribution(&fs::read_to_string(system.etc.join("os-release")).unwrap_or_default()),
        architecture: match std::env::consts::ARCH {
            "x86_64" => Architecture::X86_64,
            "aarch64" => Architecture::Aarch64,
            _ => Architecture::Other,
        },
        hostname: kernel_text("hostname"),
        systemd: systemd_version(system, units),
        nginx,
        docker: engine.version(),
        compose,
        postgresql_client,
        logrotate,
        capabilities,
        fence,
        boot_id,
    }
}

/// What cannot be kept is asked for again next time.
fn keep(root: &Root, file: &Path, told: &Told) {
    if root.prepare().is_ok()
        && let Ok(bytes) = serde_json::to_vec(told)
    {
        let _ = Disk::new().replace(file, &bytes, Access { mode: 0o600, owner: None });
    }
}

fn systemd_version(system: &System, units: &mut Units) -> Tool {
    // The test that libsystemd's sd_booted() documents.
    if !Path::new("/run/systemd/system").is_dir() {
        return Tool::Missing;
    }
    match units.version() {
        Ok(version) => Tool::Version(version),
        Err(BusError::Unreachable(reason)) => match run(system, "systemctl", &["--version"]) {
            // `systemd 252 (252.39-1~deb12u1)`
            Ok(text) => {
                text.split_ascii_whitespace().nth(1).map_or(Tool::Broken(reason), |word| Tool::Version(word.to_owned()))
            }
            Err(_) => Tool::Broken(reason),
        },
        Err(error) => Tool::Broken(error.to_string()),
    }
}

fn nginx_version(system: &System) -> Tool {
    // `nginx version: nginx/1.22.1`, on standard error.
    version(run(system, "nginx", &["-v"]), |text| Some(text.trim().rsplit_once('/')?.1.split(' ').next()?.to_owned()))
}

fn compose_version(system: &System) -> Tool {
    let installed = PLUGIN_FOLDERS.iter().any(|folder| Path::new(folder).join("docker-compose").is_file());
    match version(run(system, "docker", &["compose", "version", "--short"]), |text| {
        Some(text.trim().trim_start_matches('v').to_owned())
    }) {
        // The Docker command fails in the same way for a plugin that is missing and one that is broken.
        Tool::Broken(_) | Tool::Missing if !installed => former_compose_version(system),
        tool => tool,
    }
}

/// The program that compose was before it became a plugin of docker: another one, and always too old. That it is there is worth saying.
fn former_compose_version(system: &System) -> Tool {
    match version(run(system, "docker-compose", &["version", "--short"]), |text| {
        Some(text.trim().trim_start_matches('v').to_owned())
    }) {
        // From 2 on the plugin is sometimes installed under this name as well, where docker does not find it.
        Tool::Version(version) if version.starts_with("1.") => Tool::Version(version),
        _ => Tool::Missing,
    }
}

fn psql_version(system: &System) -> Tool {
    // `psql (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)`
    version(run(system, "psql", &["--version"]), |text| Some(text.split_ascii_whitespace().nth(2)?.to_owned()))
}

fn logrotate_version(system: &System) -> Tool {
    // `logrotate 3.22.0`, with its defaults on further lines.
    version(run(system, "logrotate", &["--version"]), |text| Some(text.split_ascii_whitespace().nth(1)?.to_owned()))
}

fn nft_version(system: &System) -> Tool {
    // `nftables v1.0.6 (Lester Gooch #5)`
    let tool = version(run(system, "nft", &["--version"]), |text| {
        Some(text.split_ascii_whitespace().nth(1)?.trim_start_matches('v').to_owned())
    });
    let (Tool::Version(_), Some(program)) = (&tool, system.program("nft")) else { return tool };
    match Call::new(program, ["-c", "-f", "-"]).stdin(CHECKED_TABLE).deadline(DEADLINE).run() {
        Ok(_) => tool,
        Err(error) => Tool::Broken(error.to_string()),
    }
}

fn version(answer: Result<String, ExecError>, parse: impl Fn(&str) -> Option<String>) -> Tool {
    match answer {
        Ok(text) => match parse(&text).filter(|version| !version.is_empty()) {
            Some(version) => Tool::Version(version),
            None => Tool::Broken("it did not tell its version".to_owned()),
        },
        Err(ExecError::Missing(_)) => Tool::Missing,
        Err(error) => Tool::Broken(error.to_string()),
    }
}

fn run(system: &System, name: &str, args: &[&str]) -> Result<String, ExecError> {
    let program = system.program(name).ok_or_else(|| ExecError::Missing(name.to_owned()))?;
    let output = Call::new(program, args.iter().copied()).deadline(DEADLINE).run()?;
    let told = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Ok(String::from_utf8_lossy(&told).into_owned())
}

fn candidates(system: &System, name: &str) -> Vec<PathBuf> {
    system.programs.iter().map(|folder| folder.join(name)).collect()
}

fn stamp(files: &[PathBuf], extra: &str) -> String {
    let mut stamp = extra.to_owned();
    for file in files {
        if let Ok(meta) = fs::metadata(file) {
            let (name, inode, size) = (file.display(), meta.ino(), meta.size());
            let _ = write!(stamp, ";{name}:{inode}:{size}:{}.{}", meta.mtime(), meta.mtime_nsec());
        }
    }
    stamp
}

/// # Source
/// os-release(5): shell-like assignments; values may be quoted.
fn distribution(text: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

fn read_trimmed(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        root: Root,
        system: System,
    }

    impl Host {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let bin = folder.path().join("bin");
            fs::create_dir(&bin).unwrap();
            let nowhere = folder.path().join("nowhere");
            let system = System {
                programs: vec![bin],
                docker: nowhere.clone(),
                systemd_private: nowhere.clone(),
                system_bus: nowhere,
                ..System::real()
            };
            Self { root: Root::new(folder.path().join("root")), system, folder }
        }

        fn install(&self, name: &str, script: &str) {
            let path = self.folder.path().join("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\necho run >> {}/runs\n{script}\n", self.folder.path().display()))
                .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn hello(&self) -> Hello {
            let (mut units, mut engine) = (Units::new(self.system.clone()), Engine::new(self.system.clone()));
            hello(&self.root, &self.system, &mut units, &mut engine, 7)
        }

        fn runs(&self) -> usize {
            fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default().lines().count()
        }
    }

    #[test]
    fn a_bare_host_is_described_without_error() {
        let hello = Host::new().hello();
        assert_eq!((hello.protocol, hello.fence), (PROTOCOL_VERSION, 7));
        assert!(!hello.kernel.is_empty() && !hello.boot_id.is_empty());
        assert_eq!((hello.nginx, hello.docker), (Tool::Missing, Tool::Missing));
        assert!(hello.capabilities.is_empty());
    }

    #[test]
    fn versions_are_told_again_without_running_anything_until_the_program_changes() {
        let host = Host::new();
        host.install("nginx", "echo 'nginx version: nginx/1.22.1' >&2");
        assert_eq!(host.hello().nginx, Tool::Version("1.22.1".to_owned()));
        assert_eq!(host.hello().nginx, Tool::Version("1.22.1".to_owned()));
        assert_eq!(host.runs(), 1);
        host.install("nginx", "echo 'nginx version: nginx/1.26.0 (Debian)' >&2");
        assert_eq!(host.hello().nginx, Tool::Version("1.26.0".to_owned()));
        assert_eq!(host.runs(), 2);
    }

    #[test]
    fn a_broken_tool_is_asked_again_each_time() {
        let host = Host::new();
        host.install("nginx", "exit 3");
        assert!(matches!(host.hello().nginx, Tool::Broken(_)));
        host.hello();
        assert_eq!(host.runs(), 2);
    }

    #[test]
    fn the_redirect_works_only_where_nft_accepts_our_table() {
        let host = Host::new();
        host.install(
            "nft",
            "case \"$1\" in --version) echo 'nftables v1.0.6 (Lester)';; *) grep -q 'redirect to' || exit 1;; esac",
        );
        assert_eq!(host.hello().capabilities, BTreeSet::from([Capability::NftRedirect]));
        let host = Host::new();
        host.install("nft", "case \"$1\" in --version) echo 'nftables v1.0.6 (Lester)';; *) exit 1;; esac");
        assert!(host.hello().capabilities.is_empty());
    }

    #[test]
    fn names_of_distributions() {
        assert_eq!(
            distribution("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
            "Debian GNU/Linux 13 (trixie)"
        );
        assert_eq!(distribution(""), "");
    }
}
