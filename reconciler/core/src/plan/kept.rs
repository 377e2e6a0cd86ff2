//! What is kept for the way back, and until when.

use super::databases::declaration;
use super::{LiveHost, LiveState};
use crate::desired::{Body, DesiredComponent, DesiredState};
use crate::time::Timestamp;

/// Returns whether anything is kept for a while after it served.
pub fn keeps_previous(desired: &DesiredState) -> bool {
    let apps = desired.hosts.values().flat_map(|host| host.apps.values());
    apps.flat_map(|app| &app.components)
        .any(|component| has_slots(component) || declaration(component.body.artifacts(None)).is_some())
}

/// Returns when the first of all things that hosts keep has been kept long enough, which may be in the past; `None` when nothing is
/// kept as far as is known.
pub fn kept_until(desired: &DesiredState, live: &LiveState) -> Option<Timestamp> {
    let mut ends = Vec::new();
    for (name, host) in &desired.hosts {
        let Some(LiveHost::Reached { report, .. }) = live.hosts.get(name) else { continue };
        let logins = report.databases.values().filter_map(|live| live.seen()?.next_over_ms);
        ends.extend(logins.map(Timestamp));
        let Some(ledger) = report.ledger.seen() else { continue };
        for app in host.apps.values() {
            let Some(record) = ledger.apps.get(&format!("{}/{}", desired.environment, app.name)) else { continue };
            for component in app.components.iter().filter(|component| has_slots(component)) {
                let kept = record.components.get(component.name.as_str());
                let idle = kept.into_iter().flat_map(|kept| kept.slots.values()).filter_map(|slot| slot.idle_since_ms);
                ends.extend(idle.map(|since| Timestamp(since).plus_ms(component.keep_previous.0)));
            }
        }
    }
    ends.into_iter().min()
}

fn has_slots(component: &DesiredComponent) -> bool {
    matches!(component.body, Body::Slots { .. })
}
