//! Checks that the way is clear, before anything changes.

use holdfast_protocol::{Ledger, Tool};

use super::{Act, StepError, Work, fail, nginx, sockets};
use crate::docker::Engine;
use crate::ledger;

/// Checks that the way is clear. Changes nothing.
pub(super) struct Preflight<'a> {
    pub(super) ports_free: &'a [u16],
    pub(super) disk_free: u64,
    pub(super) nginx: bool,
    pub(super) docker: bool,
}

impl Act for Preflight<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let mut wrong = Vec::new();
        wrong.extend(self.ports(work)?);
        wrong.extend(self.disk(work));
        if self.nginx {
            wrong.extend(nginx::live_error(work)?);
        }
        if self.docker {
            wrong.extend(engine(work));
        }
        if wrong.is_empty() { Ok(String::new()) } else { fail(wrong.join("; ")) }
    }
}

impl Preflight<'_> {
    fn ports(&self, work: &Work<'_>) -> Result<Vec<String>, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| StepError::Failed(error.to_string()))?;
        let own = own_ports(&ledger.unwrap_or_default(), &work.spec.app, work.component);
        let mut wrong = Vec::new();
        for port in self.ports_free.iter().filter(|port| !own.contains(port)) {
            match sockets::listener(&work.host.system.proc, *port) {
                Ok(None) => {}
                Ok(Some(address)) => {
                    wrong.push(format!(
                        "port {port} is taken on {address} by something else: stop it, or choose another port"
                    ));
                }
                Err(error) => wrong.push(format!("the listening ports cannot be read: {error}")),
            }
        }
        Ok(wrong)
    }

    fn disk(&self, work: &Work<'_>) -> Option<String> {
        let path = work.host.root.path();
        match rustix::fs::statvfs(path) {
            Err(error) => Some(format!("the free space of {} cannot be read: {error}", path.display())),
            Ok(stat) => {
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                if free < self.disk_free {
                    Some(format!("{} has {free} bytes free, {} are needed: make room", path.display(), self.disk_free))
                } else if stat.f_files > 0 && stat.f_favail < 1000 {
                    Some(format!("{} has {} inodes free, 1000 are needed: make room", path.display(), stat.f_favail))
                } else {
                    None
                }
            }
        }
    }
}

fn engine(work: &Work<'_>) -> Option<String> {
    match Engine::new(work.host.system.clone()).version() {
        Tool::Version(_) => None,
        Tool::Missing => Some("Docker is not installed: install it on this host".to_owned()),
        Tool::Broken(why) => Some(format!("the Docker engine does not answer: {why}")),
    }
}

/// The ports that the component's own slots have: they may be held by an idle slot that was kept warm.
fn own_ports(ledger: &Ledger, app: &str, component: &str) -> Vec<u16> {
    let component = ledger.apps.get(app).and_then(|app| app.components.get(component));
    component
        .into_iter()
        .flat_map(|component| component.slots.values())
        .flat_map(|slot| slot.ports.values().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_protocol::{AppRecord, ComponentRecord, Slot, SlotRecord};

    use super::super::testing::Bench;
    use super::*;

    fn preflight(ports_free: &[u16]) -> Preflight<'_> {
        Preflight { ports_free, disk_free: 0, nginx: false, docker: false }
    }

    #[test]
    fn cap_16_a_taken_port_is_named_unless_it_is_our_own_slots() {
        let bench = Bench::new();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let error = preflight(&[port]).apply(&bench.work(), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken on 127.0.0.1")), "{error}");

        let slot = SlotRecord { ports: BTreeMap::from([("api".to_owned(), port)]), ..SlotRecord::default() };
        let web = ComponentRecord { slots: BTreeMap::from([(Slot::Blue, slot)]), ..ComponentRecord::default() };
        let record = AppRecord {
            release: "v1".to_owned(),
            commit: "c".to_owned(),
            transaction: "t".to_owned(),
            components: BTreeMap::from([("web".to_owned(), web)]),
            previous: None,
        };
        ledger::update(&bench.host.root, &bench.host.disk, |ledger| {
            ledger.apps.insert("prod/shop".to_owned(), record);
        })
        .unwrap();
        preflight(&[port]).apply(&bench.work(), &[]).unwrap();
    }

    #[test]
    fn a_full_disk_is_told() {
        let bench = Bench::new();
        let preflight = Preflight { disk_free: u64::MAX, ..preflight(&[]) };
        let error = preflight.apply(&bench.work(), &[]).unwrap_err().to_string();
        assert!(error.contains("make room"), "{error}");
    }
}
