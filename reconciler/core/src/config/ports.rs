//! The ports of a component, and how many of it share them out among themselves.

use std::collections::BTreeMap;

use super::claims::{Claims, Resource};
use super::findings::Findings;
use super::model::{SlotPorts, Strategy, replica_port};
use super::raw;
use crate::id::HostName;

/// Returns the ports by name after claiming all of them, those of a range each for itself.
pub(super) fn ports(
    raw: &raw::Component,
    strategy: Option<Strategy>,
    who: &str,
    hosts: &[HostName],
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, SlotPorts> {
    let mut ports = BTreeMap::new();
    for entry in raw.ports.iter().flat_map(|ports| &ports.entries) {
        let Some(at) = &entry.value else { continue };
        let slots = strategy.is_none_or(Strategy::has_slots);
        let word = strategy.map_or("", Strategy::as_str);
        let name = &entry.name.value.0;
        match &at.value {
            raw::Ports::One(port) => {
                if slots && strategy.is_some() {
                    let hint = format!("write `{{ blue: {}, green: … }}`", port.value.number());
                    let message =
                        format!("the strategy `{word}` runs two slots, and the port `{name}` is given for one");
                    findings.error_at("bad-port", port, message, hint);
                }
                claims.claim(Resource::Port, port.value.number().to_string(), who, port, hosts);
                ports.insert(name.clone(), SlotPorts { blue: port.value.number(), green: port.value.number() });
            }
            raw::Ports::Slots(both) => {
                if !slots {
                    let message = format!("the strategy `{word}` has no slots, and the port `{name}` is given for two");
                    findings.error_at("bad-port", at, message, format!("write `{name}: {}`", both.blue.value.first));
                }
                for range in [&both.blue, &both.green] {
                    for port in range.value.all() {
                        claims.claim(Resource::Port, port.to_string(), who, range, hosts);
                    }
                }
                let (blue, green) = (both.blue.value, both.green.value);
                if blue.all().count() != green.all().count() {
                    let message = format!("the port `{name}` has not as many numbers in one slot as in the other");
                    findings.error_at("bad-port", at, message, "give both slots ranges of the same length");
                }
                for (number, (blue, green)) in (1..).zip(blue.all().zip(green.all())) {
                    ports.insert(replica_port(name, number), SlotPorts { blue, green });
                }
            }
        }
    }
    ports
}

/// Returns how many of the component run side by side in a slot.
pub(super) fn replicas(raw: &raw::Component, strategy: Option<Strategy>, findings: &mut Findings<'_>) -> u16 {
    let count = raw.replicas.as_ref().map_or(1, |count| count.value.0 as u16);
    let Some(at) = &raw.replicas else { return count };
    let fits = raw.compose.is_some() && strategy.is_none_or(|strategy| strategy == Strategy::BlueGreen);
    if !fits && !raw.wrong.any(&["compose", "strategy"]) {
        let hint = "other strategies say it in the compose file, with `deploy.replicas` and without ports of the host";
        findings.error_at("bad-replicas", at, "`replicas` needs `compose` and the strategy `blue_green`", hint);
    }
    for entry in raw.ports.iter().flat_map(|ports| &ports.entries) {
        let Some(raw::Ports::Slots(both)) = entry.value.as_ref().map(|at| &at.value) else { continue };
        let (name, blue) = (&entry.name.value.0, both.blue.value);
        if blue.all().count() < usize::from(count) {
            let message =
                format!("{count} replicas need {count} ports of each slot, and `{name}` has {}", blue.all().count());
            let last = blue.first.saturating_add(count - 1);
            let hint = format!("write `{{ blue: {}-{last}, green: … }}`", blue.first);
            findings.error_at("bad-replicas", at, message, hint);
        }
    }
    count
}
