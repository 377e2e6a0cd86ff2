//! The firewall of a host: rules in a table of our own, and the unit that loads them.

use std::fmt::Write as _;

use super::component::own_file;
use super::path::{Place, UNITS};
use super::{Artifacts, DesiredUnit};
use crate::config::{FirewallPorts, FirewallRule, FirewallSpec};
use crate::diag::Origin;
use crate::render::Content;

/// The unit of a host's firewall.
const UNIT: &str = "holdfast-firewall.service";

/// Adds the rules and the unit of a host's firewall.
pub(super) fn firewall(spec: &FirewallSpec, place: Place<'_>, origin: &Origin, artifacts: &mut Artifacts) {
    let path = format!("{}/firewall.nft", place.directory());
    let mut rules = own_file(Content::plain(rules(spec)), origin, false);
    // The new table takes the old one's place in one piece; a stop in between would leave the host open.
    rules.reload = true;
    let unit = own_file(Content::plain(unit(&path)), origin, false);
    artifacts.files.extend([(path, rules), (format!("{UNITS}/{UNIT}"), unit)]);
    artifacts.units.insert(UNIT.to_owned(), DesiredUnit { enabled: true });
}

/// The chain sees packets after connections are known and before Docker's redirections (priority -100), so that a port published by
/// Docker is judged by the number the other machine asked for, and the same rules hold for the host and its containers.
///
/// # Source
/// nft(8), "Chains" (priorities), "FIB expressions", "Conntrack expressions"; `destroy table` needs nftables 1.0.7, so a table is
/// declared and deleted, which does the same.
fn rules(spec: &FirewallSpec) -> String {
    let inside: Vec<String> = spec.inside.iter().map(|name| format!("\"{name}\"")).collect();
    let each = |rule: &str| inside.iter().fold(String::new(), |text, name| text + &rule.replace("NAME", name));
    let mut allowed = String::new();
    for rule in &spec.allow {
        allow(&mut allowed, rule);
    }
    format!(
        "# Written by Holdfast.\n\
         table inet holdfast_firewall\n\
         delete table inet holdfast_firewall\n\
         table inet holdfast_firewall {{\n\
         \tchain outside {{\n\
         \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         \t\tiifname \"lo\" accept\n\
         {own}\
         \t\tct state established,related accept\n\
         \t\tfib daddr type != local accept\n\
         \t\tmeta l4proto {{ icmp, ipv6-icmp }} accept\n\
         \t\tudp dport {{ 68, 546 }} accept\n\
         {allowed}\
         \t\tcounter drop\n\
         \t}}\n\
         \tchain containers {{\n\
         \t\ttype filter hook forward priority filter - 1; policy accept;\n\
         \t\tct state established,related accept\n\
         \t\tct status dnat accept\n\
         {own}\
         {closed}\
         \t}}\n\
         }}\n",
        own = each("\t\tiifname NAME accept\n"),
        closed = each("\t\toifname NAME counter drop\n"),
    )
}

fn allow(text: &mut String, rule: &FirewallRule) {
    for udp in [false, true] {
        let ports: Vec<String> =
            rule.ports.iter().filter(|ports| ports.udp == udp).map(|ports| range(*ports)).collect();
        if ports.is_empty() {
            continue;
        }
        let to = format!("{} dport {{ {} }} accept", if udp { "udp" } else { "tcp" }, ports.join(", "));
        let Some(from) = &rule.from else {
            let _ = writeln!(text, "\t\t{to}");
            continue;
        };
        // A set of one family cannot hold an address of the other.
        for (family, v6) in [("ip", false), ("ip6", true)] {
            let networks: Vec<&str> =
                from.iter().filter(|network| network.contains(':') == v6).map(String::as_str).collect();
            if !networks.is_empty() {
                let _ = writeln!(text, "\t\t{family} saddr {{ {} }} {to}", networks.join(", "));
            }
        }
    }
}

fn range(ports: FirewallPorts) -> String {
    if ports.first == ports.last { ports.first.to_string() } else { format!("{}-{}", ports.first, ports.last) }
}

/// # Source
/// systemd.unit(5): `PartOf=` brings it back with `nftables.service`, whose start empties every table;
/// systemd.special(7): `network-pre.target` is for firewalls.
fn unit(path: &str) -> String {
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: the firewall of this host\n\
         DefaultDependencies=no\n\
         RequiresMountsFor=/var/lib/holdfast\n\
         After=local-fs.target nftables.service\n\
         PartOf=nftables.service\n\
         Wants=network-pre.target\n\
         Before=network-pre.target shutdown.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/usr/sbin/nft --file {path}\n\
         ExecReload=/usr/sbin/nft --file {path}\n\
         ExecStop=/usr/sbin/nft delete table inet holdfast_firewall\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16, udp: bool) -> FirewallPorts {
        FirewallPorts { udp, first, last }
    }

    #[test]
    fn cap_17_what_is_declared_becomes_rules_before_dockers_own() {
        let spec = FirewallSpec {
            allow: vec![
                FirewallRule { ports: vec![ports(22, 22, false), ports(443, 443, false)], from: None },
                FirewallRule {
                    ports: vec![ports(5432, 5432, false), ports(6000, 6010, true)],
                    from: Some(["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()].into()),
                },
            ],
            inside: vec!["docker0".to_owned(), "br-*".to_owned()],
        };
        let text = rules(&spec);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let chain: Vec<&str> = lines
            .iter()
            .skip_while(|line| !line.contains("hook prerouting"))
            .take_while(|line| **line != "}")
            .copied()
            .collect();
        assert_eq!(
            chain,
            [
                "type filter hook prerouting priority mangle; policy accept;",
                "iifname \"lo\" accept",
                "iifname \"docker0\" accept",
                "iifname \"br-*\" accept",
                "ct state established,related accept",
                "fib daddr type != local accept",
                "meta l4proto { icmp, ipv6-icmp } accept",
                "udp dport { 68, 546 } accept",
                "tcp dport { 22, 443 } accept",
                "ip saddr { 10.0.0.0/8 } tcp dport { 5432 } accept",
                "ip6 saddr { fd00::/8 } tcp dport { 5432 } accept",
                "ip saddr { 10.0.0.0/8 } udp dport { 6000-6010 } accept",
                "ip6 saddr { fd00::/8 } udp dport { 6000-6010 } accept",
                "counter drop",
            ]
        );
        assert!(lines.contains(&"oifname \"br-*\" counter drop"));
        assert!(unit("/x/firewall.nft").contains("ExecReload=/usr/sbin/nft --file /x/firewall.nft\n"));
    }
}
