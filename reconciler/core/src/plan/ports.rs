//! Ports that somebody else holds.

use std::collections::BTreeSet;

use holdfast_protocol::Slot;

use super::host::HostContext;
use super::place::{Problem, runs};
use super::switches::port_of;
use crate::desired::DesiredComponent;

/// Returns a problem for each port that a component is about to listen on and that somebody else holds.
///
/// A place that runs already holds its ports itself, so it is not asked about.
pub(super) fn port_problems(
    context: &HostContext<'_>,
    component: &DesiredComponent,
    slot: Option<Slot>,
) -> Vec<Problem> {
    if runs(context.report, component.body.artifacts(slot)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (name, ports) in &component.ports {
        let port = port_of(*ports, slot);
        let owners: BTreeSet<&str> = context
            .report
            .listening
            .iter()
            .filter(|listening| listening.port == port && clashes(&listening.address))
            .map(|listening| listening.owner.as_str())
            .collect();
        for owner in owners {
            let owner = if owner.is_empty() { "another process" } else { owner };
            let place = slot.map_or_else(String::new, |slot| format!(" of {slot}"));
            problems.push((
                "port-taken",
                format!("port {port} (`{name}`{place}) is held by {owner}: stop it, or choose another port"),
            ));
        }
    }
    problems
}

/// Returns whether a listener at this address keeps us from listening on loopback: it is a wildcard or loopback itself, other
/// than the address of the switches.
fn clashes(address: &str) -> bool {
    let address = address.strip_prefix("::ffff:").unwrap_or(address);
    let wildcard = matches!(address, "0.0.0.0" | "::" | "*" | "");
    wildcard || address == "::1" || (address.starts_with("127.") && address != crate::desired::SWITCH_ADDRESS)
}

#[cfg(test)]
mod tests {
    use super::clashes;

    #[test]
    fn only_wildcards_and_loopback_clash() {
        for (address, expected) in [
            ("0.0.0.0", true),
            ("::", true),
            ("::ffff:0.0.0.0", true),
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("127.0.83.1", false),
            ("10.0.0.5", false),
            ("fe80::1", false),
        ] {
            assert_eq!(clashes(address), expected, "{address}");
        }
    }
}
