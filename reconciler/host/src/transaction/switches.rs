//! The switches: which slot's port receives new connections.
//!
//! nginx's upstream is one fixed address, `127.0.83.1:PORT`, whatever slot serves. Two mechanisms lead from there to a slot, and the
//! address is the same in both, so that neither the rendered site nor the plan depends on it.
//!
//! - **Redirect**: the element of a map in an nftables table of our own. Replacing it is one atomic step of the kernel; connections
//!   that are open stay where they are, new ones go to the new slot, and nginx is not touched.
//! - **Reload**, for hosts without `nft`: nginx itself listens on the address, in `conf.d/holdfast-switch-PORT.conf`, and passes on to
//!   the slot. Switching replaces that file and reloads nginx, which can reset idle keep-alive connections.
//!
//! # Format
//! `switches.json`: a version, and by listen address the port and the method. It is what a boot or a firewall restart puts back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use holdfast_protocol::{Observed, SwitchLive, SwitchMethod};
use serde::{Deserialize, Serialize};

use super::host::Host;
use crate::disk::Access;
use crate::exec::{Call, ExecError};
use crate::lock::Lock;

/// The address nginx's upstreams name. Loopback, and nobody else's: a switch can take any port on it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 83, 1);

/// How long `nft` may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a switch could not be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The listen address is not ours to use.
    #[error("`{0}` is no switch address: expected {ADDRESS}:PORT")]
    Address(String),
    /// `nft` failed.
    #[error("{0}")]
    Exec(#[from] ExecError),
    /// `nft` or the kept file says something that is not understood.
    #[error("the switches cannot be read: {0}")]
    Malformed(String),
    /// Any I/O error.
    #[error("{path}: {source}")]
    Io {
        /// Its file.
        path: String,
        /// The error.
        source: io::Error,
    },
    /// What was set is not what is there.
    #[error(
        "{listen} goes to {found:?} after it was set to {wanted:?}: is something else changing the table `ip holdfast`?"
    )]
    NotTaken {
        /// The switch.
        listen: String,
        /// What was set.
        wanted: Option<u16>,
        /// What is there.
        found: Option<u16>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    switches: BTreeMap<String, KeptSwitch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSwitch {
    to: u16,
    method: SwitchMethod,
}

const VERSION: u32 = 1;

/// Returns the port of a listen address.
///
/// # Errors
/// [`SwitchError::Address`] when it is not on [`ADDRESS`].
pub fn port_of(listen: &str) -> Result<u16, SwitchError> {
    match listen.parse::<SocketAddrV4>() {
        Ok(address) if *address.ip() == ADDRESS && address.port() != 0 => Ok(address.port()),
        _ => Err(SwitchError::Address(crate::exec::shown(listen.as_bytes(), 80))),
    }
}

/// Returns the live switches as one observation.
pub fn read(host: &Host) -> Observed<BTreeMap<String, SwitchLive>> {
    match live(host) {
        Ok(live) => Observed::Seen(live.into_iter().map(|(listen, to)| (listen, SwitchLive { to })).collect()),
        Err(error) => Observed::Unknown(error.to_string()),
    }
}

/// Returns where every live switch goes, by listen address. A redirect wins over nginx, as it does for a connection.
///
/// # Errors
/// When the kernel or nginx's folder cannot be asked.
pub fn live(host: &Host) -> Result<BTreeMap<String, u16>, SwitchError> {
    let mut all = passed_on(host)?;
    let redirected = redirected()?.unwrap_or_default();
    all.extend(redirected.into_iter().map(|(port, to)| (format!("{ADDRESS}:{port}"), to)));
    Ok(all)
}

/// Moves a switch, or removes it; when this returns it is live and survives a boot.
///
/// Returns whether nginx must be reloaded for it.
///
/// # Errors
/// Any [`SwitchError`]; read what is live before anything else is done.
pub fn set(host: &Host, listen: &str, to: Option<u16>, method: SwitchMethod) -> Result<bool, SwitchError> {
    let port = port_of(listen)?;
    let lock = host.root.path().join("switches.lock");
    let _lock = Lock::take(&lock).map_err(|source| SwitchError::Io { path: lock.display().to_string(), source })?;
    let mut kept = load(host)?;
    let redirect = to.filter(|_| method == SwitchMethod::Redirect);
    let pass_on = to.filter(|_| method == SwitchMethod::Reload);
    if redirect.is_some() || redirected()?.is_some_and(|live| live.contains_key(&port)) {
        set_redirect(port, redirect)?;
    }
    let reload = set_pass_on(host, port, pass_on)?;
    kept.version = VERSION;
    match to {
        Some(to) => kept.switches.insert(listen.to_owned(), KeptSwitch { to, method }),
        None => kept.switches.remove(listen),
    };
    let text = serde_json::to_vec_pretty(&kept).expect("BUG: plain data always encodes");
    let path = kept_path(host);
    host.disk
        .replace(&path, &text, Access { mode: 0o600, owner: None })
        .map_err(|source| SwitchError::Io { path: path.display().to_string(), source })?;
    let found = live(host)?.get(listen).copied();
    if found != to {
        return Err(SwitchError::NotTaken { listen: listen.to_owned(), wanted: to, found });
    }
    Ok(reload)
}

/// Returns by what means a switch was set; `None` when it is not one of ours.
///
/// # Errors
/// When the kept file cannot be read.
pub fn method(host: &Host, listen: &str) -> Result<Option<SwitchMethod>, SwitchError> {
    Ok(load(host)?.switches.get(listen).map(|switch| switch.method))
}

/// Returns whether a boot would put a switch back to this port.
///
/// # Errors
/// When the kept file cannot be read.
pub fn is_kept(host: &Host, listen: &str, to: u16) -> Result<bool, SwitchError> {
    Ok(load(host)?.switches.get(listen).is_some_and(|switch| switch.to == to))
}

/// Puts every redirect back that a boot or a firewall restart took away. Those through nginx are files and stay by themselves.
///
/// # Errors
/// Any [`SwitchError`].
pub fn restore(host: &Host) -> Result<usize, SwitchError> {
    let lock = host.root.path().join("switches.lock");
    let _lock = Lock::take(&lock).map_err(|source| SwitchError::Io { path: lock.display().to_string(), source })?;
    let kept = load(host)?;
    let live = redirected()?.unwrap_or_default();
    let mut restored = 0;
    for (listen, switch) in kept.switches.iter().filter(|(_, switch)| switch.method == SwitchMethod::Redirect) {
        let port = port_of(listen)?;
        if live.get(&port) != Some(&switch.to) {
            set_redirect(port, Some(switch.to))?;
            restored += 1;
        }
    }
    Ok(restored)
}

fn kept_path(host: &Host) -> PathBuf {
    host.root.path().join("switches.json")
}

fn load(host: &Host) -> Result<Kept, SwitchError> {
    let path = kept_path(host);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(source) => return Err(SwitchError::Io { path: path.display().to_string(), source }),
    };
    let malformed = |why: String| SwitchError::Malformed(format!("{}: {why}", path.display()));
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    if kept.version > VERSION {
        return Err(malformed(format!("version {} is newer than this program's", kept.version)));
    }
    Ok(kept)
}

/// Returns the elements of our map; `None` when the host has no `nft`, empty when there is no table of ours.
///
/// # Source
/// libnftables-json(5): `{"nftables": [{"map": {"elem": [[key, value], …]}}, …]}`.
fn redirected() -> Result<Option<BTreeMap<u16, u16>>, SwitchError> {
    // The kernel itself answers in microseconds; a process of `nft` would be most of what an observation costs.
    match crate::nftables::port_map("holdfast", "switches") {
        Ok(elements) => return Ok(Some(elements)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(BTreeMap::new())),
        // A kernel that cannot be asked this way, or a map of another shape: `nft` says what is wrong.
        Err(_) => {}
    }
    let call = Call::new("nft", ["-j", "list", "map", "ip", "holdfast", "switches"]).deadline(DEADLINE);
    let output = match call.output() {
        Err(ExecError::Missing(_)) => return Ok(None),
        output => output?,
    };
    if output.code != 0 {
        let told = output.told();
        // No such table, or no such map in it.
        if told.contains("No such file or directory") {
            return Ok(Some(BTreeMap::new()));
        }
        return Err(SwitchError::Malformed(told));
    }
    parse_map(&output.stdout).map(Some)
}

fn parse_map(json: &[u8]) -> Result<BTreeMap<u16, u16>, SwitchError> {
    let malformed = || SwitchError::Malformed(format!("nft answered {}", crate::exec::shown(json, 200)));
    let value: serde_json::Value = serde_json::from_slice(json).map_err(|_| malformed())?;
    let items = value.get("nftables").and_then(|items| items.as_array()).ok_or_else(malformed)?;
    let map = items.iter().find_map(|item| item.get("map")).ok_or_else(malformed)?;
    let Some(elements) = map.get("elem") else { return Ok(BTreeMap::new()) };
    let port = |value: &serde_json::Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    elements
        .as_array()
        .ok_or_else(malformed)?
        .iter()
        .map(|pair| Some((port(pair.get(0)?)?, port(pair.get(1)?)?)))
        .collect::<Option<_>>()
        .ok_or_else(malformed)
}

/// One file of commands is one transaction of the kernel: a connection meets the element before or the one after.
fn set_redirect(port: u16, to: Option<u16>) -> Result<(), SwitchError> {
    let live = redirected()?;
    let mut script = String::new();
    if live.as_ref().is_none_or(BTreeMap::is_empty) && !has_table()? {
        let _ = write!(
            script,
            "add table ip holdfast\n\
             add map ip holdfast switches {{ type inet_service : inet_service; }}\n\
             add chain ip holdfast output {{ type nat hook output priority -100; policy accept; }}\n\
             add rule ip holdfast output ip daddr {ADDRESS} meta l4proto tcp redirect to :tcp dport map @switches\n"
        );
    }
    if live.is_some_and(|live| live.contains_key(&port)) {
        let _ = writeln!(script, "delete element ip holdfast switches {{ {port} }}");
    }
    if let Some(to) = to {
        let _ = writeln!(script, "add element ip holdfast switches {{ {port} : {to} }}");
    }
    if !script.is_empty() {
        Call::new("nft", ["-f", "-"]).stdin(script).deadline(DEADLINE).run()?;
    }
    Ok(())
}

fn has_table() -> Result<bool, SwitchError> {
    let output = Call::new("nft", ["list", "chain", "ip", "holdfast", "output"]).deadline(DEADLINE).output()?;
    Ok(output.code == 0 && output.text().contains("@switches"))
}

fn pass_on_path(host: &Host, port: u16) -> PathBuf {
    host.system.etc.join(format!("nginx/conf.d/holdfast-switch-{port}.conf"))
}

const MARK: &str = "# holdfast switch ";

/// Transparent: what nginx's outer hop sent goes on as it is.
///
/// # Source
/// ngx_http_proxy_module: `Host` and `Connection` are the only headers that are changed by default.
fn pass_on_text(port: u16, to: u16) -> String {
    format!(
        "{MARK}{ADDRESS}:{port} {to}\n\
         # Written by Holdfast; it is replaced at every switch.\n\
         map $http_upgrade $holdfast_connection_{port} {{\n    default upgrade;\n    '' '';\n}}\n\
         server {{\n    listen {ADDRESS}:{port};\n    access_log off;\n    client_max_body_size 0;\n    location / {{\n        \
         proxy_pass http://127.0.0.1:{to};\n        proxy_http_version 1.1;\n        proxy_set_header Host $http_host;\n        \
         proxy_set_header Upgrade $http_upgrade;\n        proxy_set_header Connection $holdfast_connection_{port};\n        \
         proxy_buffering off;\n        proxy_request_buffering off;\n        proxy_read_timeout 1d;\n        \
         proxy_send_timeout 1d;\n    }}\n}}\n"
    )
}

/// Returns whether the file changed.
fn set_pass_on(host: &Host, port: u16, to: Option<u16>) -> Result<bool, SwitchError> {
    let path = pass_on_path(host, port);
    let found = fs::read_to_string(&path).ok();
    let wanted = to.map(|to| pass_on_text(port, to));
    if found == wanted {
        return Ok(false);
    }
    match &wanted {
        Some(text) => host.disk.replace(&path, text.as_bytes(), Access { mode: 0o644, owner: None }),
        None => host.disk.remove(&path),
    }
    .map_err(|source| SwitchError::Io { path: path.display().to_string(), source })?;
    Ok(true)
}

fn passed_on(host: &Host) -> Result<BTreeMap<String, u16>, SwitchError> {
    let folder = host.system.etc.join("nginx/conf.d");
    let io = |source| SwitchError::Io { path: folder.display().to_string(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(io(error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.starts_with("holdfast-switch-") && path.extension().is_some_and(|extension| extension == "conf")
        });
        if !ours {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(io)?;
        let mark = text.lines().next().and_then(|line| line.strip_prefix(MARK)).and_then(|rest| rest.split_once(' '));
        if let Some((listen, to)) = mark.and_then(|(listen, to)| Some((listen, to.parse().ok()?))) {
            found.insert(listen.to_owned(), to);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(port_of("127.0.83.1:8101").unwrap(), 8101);
        for bad in ["127.0.0.1:8101", "127.0.83.1", "127.0.83.1:0", "127.0.83.1:99999", "127.0.83.1:80; flush ruleset"]
        {
            assert!(port_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_nft_answers() {
        let json = br#"{"nftables": [{"metainfo": {"version": "1.1.3"}}, {"map": {"family": "ip", "name": "switches", "table":
            "holdfast", "type": "inet_service", "handle": 2, "map": "inet_service", "elem": [[8101, 8201], [8102, 8302]]}}]}"#;
        assert_eq!(parse_map(json).unwrap(), BTreeMap::from([(8101, 8201), (8102, 8302)]));
        let empty = br#"{"nftables": [{"map": {"name": "switches"}}]}"#;
        assert_eq!(parse_map(empty).unwrap(), BTreeMap::new());
        for odd in [&b"{}"[..], b"x", br#"{"nftables": [{"map": {"elem": [[8101, 70000]]}}]}"#] {
            assert!(parse_map(odd).is_err());
        }
    }

    #[test]
    fn a_switch_through_nginx_is_a_file_that_says_where_it_goes() {
        let bench = super::super::step::testing::Bench::new();
        let mut host = bench.host.clone();
        host.system.etc = bench.path().join("etc");
        fs::create_dir_all(host.system.etc.join("nginx/conf.d")).unwrap();
        assert!(set_pass_on(&host, 8101, Some(8201)).unwrap());
        assert!(!set_pass_on(&host, 8101, Some(8201)).unwrap());
        assert_eq!(passed_on(&host).unwrap(), BTreeMap::from([("127.0.83.1:8101".to_owned(), 8201)]));
        assert!(set_pass_on(&host, 8101, Some(8301)).unwrap());
        assert_eq!(passed_on(&host).unwrap()["127.0.83.1:8101"], 8301);
        assert!(set_pass_on(&host, 8101, None).unwrap());
        assert_eq!(passed_on(&host).unwrap(), BTreeMap::new());
    }
}
