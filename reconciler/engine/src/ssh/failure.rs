use holdfast_core::config::HostSpec;

use super::pin::PinnedKey;
use super::tail::escaped;
use crate::ports::LinkError;

/// Returns what a failed `ssh` meant, from what it printed.
///
/// # Source
/// Messages of OpenSSH 9.2 (`sshconnect.c`, `sshconnect2.c`); they are not translated.
pub(super) fn of_ssh(host: &HostSpec, pin: &PinnedKey, said: &str) -> LinkError {
    let name = host.name.to_string();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&[
        "HOST IDENTIFICATION HAS CHANGED",
        "Host key verification failed",
        "strict checking",
        "no matching host key type",
    ]) {
        let shown = said.split_whitespace().find(|word| word.starts_with("SHA256:"));
        let shown = escaped(shown.map_or("of another type", |word| word.trim_end_matches('.')));
        let detail = format!(
            "pinned is {}, shown is {shown}; if the host was set up anew, compare with `ssh-keygen -lf \
             /etc/ssh/ssh_host_ed25519_key.pub` on its console and change `host_key` in {}",
            pin.fingerprint(),
            host.origin
        );
        return LinkError::HostKey { host: name, detail };
    }
    let said = if said.trim().is_empty() { "ssh said nothing".to_owned() } else { escaped(said) };
    if has(&["Permission denied", "Too many authentication failures", "No supported authentication methods"]) {
        let reason = format!("{said}; put the manager's public key into the authorized_keys of `{}` there", host.user);
        return LinkError::Login { host: name, reason };
    }
    LinkError::Unreachable { host: name, reason: format!("{said}; check address, port and firewall ({})", host.origin) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_core::config::Address;

    use super::*;

    #[test]
    fn tells_key_login_and_network_apart() {
        let host = HostSpec {
            name: "web-1".parse().unwrap(),
            address: Address::Remote("192.0.2.1".to_owned()),
            user: "root".to_owned(),
            port: 22,
            host_key: None,
            labels: BTreeMap::new(),
            variables: BTreeMap::new(),
            origin: holdfast_core::diag::Origin { file: "inventory/a.yaml".to_owned(), line: 3, column: 5 },
        };
        let pin = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA".parse().unwrap();
        let changed = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nThe fingerprint for the ED25519 key sent by the \
                       remote host is\nSHA256:abc.\nPlease contact your system administrator.\nHost key verification failed.\n";
        let error = of_ssh(&host, &pin, changed);
        let LinkError::HostKey { detail, .. } = &error else { panic!("{error}") };
        assert!(detail.contains("shown is SHA256:abc;") && detail.contains(&pin.fingerprint()), "{detail}");
        assert!(detail.contains("inventory/a.yaml:3:5"), "{detail}");

        let unknown = "No ED25519 host key is known for holdfast-web-1 and you have requested strict checking.\n";
        assert!(matches!(of_ssh(&host, &pin, unknown), LinkError::HostKey { .. }));
        assert!(matches!(of_ssh(&host, &pin, "root@a: Permission denied (publickey).\r\n"), LinkError::Login { .. }));
        let refused = "ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n";
        let error = of_ssh(&host, &pin, refused);
        assert!(matches!(error, LinkError::Unreachable { .. }));
        assert!(error.to_string().contains("Connection refused"), "{error}");
    }
}
