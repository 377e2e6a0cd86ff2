//! Which changes can cut the manager off from a host.

use holdfast_protocol::{Action, Step};

const PATHS: [&str; 14] = [
    "/etc/ssh/",
    "/etc/network/",
    "/etc/netplan/",
    "/etc/nftables.conf",
    "/etc/nftables.d/",
    "/etc/iptables/",
    "/etc/ufw/",
    "/etc/firewalld/",
    "/etc/systemd/network/",
    "/etc/NetworkManager/",
    "/etc/sudoers",
    "/etc/pam.d/",
    "/etc/holdfast/",
    "/var/lib/holdfast/",
];

const UNITS: [&str; 13] = [
    "ssh",
    "sshd",
    "nftables",
    "iptables",
    "netfilter-persistent",
    "ufw",
    "firewalld",
    "networking",
    "systemd-networkd",
    "systemd-resolved",
    "NetworkManager",
    "holdfast",
    "holdfast-firewall",
];

/// Files of the apps Holdfast itself carries lie below these; they cut nobody off.
const HARMLESS: [&str; 2] = ["/etc/holdfast/apps/", "/var/lib/holdfast/apps/"];

/// Returns whether a step of these lists can cut the manager off.
pub(super) fn needs_confirmation(lists: &[&[Step]]) -> bool {
    lists.iter().flat_map(|list| list.iter()).any(|step| endangers(&step.action))
}

fn endangers(action: &Action) -> bool {
    match action {
        Action::PutFile(file) => path(&file.path),
        Action::RemoveFile { path: file } => path(file),
        Action::Unit { unit: name, .. } => unit(name),
        Action::EnableUnits { units } => units.keys().any(|name| unit(name)),
        Action::OnUndo(inner) => endangers(inner),
        _ => false,
    }
}

fn path(path: &str) -> bool {
    if HARMLESS.iter().any(|prefix| path.starts_with(prefix)) {
        return false;
    }
    // A drop-in of such a unit counts like the unit.
    let of_unit = path.strip_prefix("/etc/systemd/system/").and_then(|rest| rest.split('/').next()).is_some_and(unit);
    of_unit || PATHS.iter().any(|prefix| path.starts_with(prefix))
}

fn unit(name: &str) -> bool {
    let name = name.strip_suffix(".d").unwrap_or(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem.split('@').next().unwrap_or(stem);
    UNITS.contains(&stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_cuts_off_and_what_does_not() {
        for dangerous in [
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/10-team.conf",
            "/etc/nftables.conf",
            "/etc/systemd/network/10-lan.network",
            "/etc/systemd/system/ssh.service.d/limits.conf",
            "/etc/systemd/system/holdfast.service",
            "/etc/sudoers.d/holdfast",
        ] {
            assert!(path(dangerous), "{dangerous}");
        }
        for harmless in [
            "/etc/nginx/conf.d/app.conf",
            "/etc/holdfast/apps/prod/web/compose.yaml",
            "/etc/systemd/system/ssh-metrics.service",
            "/etc/systemd/system/web@blue.service",
        ] {
            assert!(!path(harmless), "{harmless}");
        }
        assert!(unit("nftables.service") && unit("ssh.socket") && unit("ssh@.service"));
        assert!(!unit("sshuttle.service") && !unit("web.service"));
    }
}
