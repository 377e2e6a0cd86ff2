//! Static files: unpacked beside what serves, led to when the rest of the release serves, pruned when no way back needs them.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Action, AppRecord, Digest, StaticRecord};

use super::assemble::Assembly;
use super::deadline;
use super::steps::Steps;
use super::target::{Target, Work};

impl Assembly<'_> {
    /// Returns the components whose static files are to be put right, with those.
    fn statics(&self) -> impl Iterator<Item = (&Target, &StaticRecord)> {
        self.targets.iter().filter_map(|target| match &target.work {
            Work::InPlace(touched) if touched.statics => Some((target, target.place.statics.as_ref()?)),
            _ => None,
        })
    }

    /// Has new releases whole on the host, where nobody sees them.
    pub(super) fn unpack(&self, steps: &mut Steps) {
        for (target, wanted) in self.statics() {
            let what = format!("unpack {}", wanted.archive);
            steps.push(&target.name, &what, deadline::UNPACK_MS, Action::StaticUnpack(wanted.clone()));
        }
    }

    /// Moves links: `new` ones before nginx reads a site that names them, the others when the rest of the release serves. A page of
    /// the old release asks the new one in any case, for it is open in browsers; a new page need never ask the old release.
    pub(super) fn lead(&self, steps: &mut Steps, new: bool) {
        for (target, wanted) in self.statics() {
            let led = target.before.as_ref().and_then(|before| before.statics.as_ref());
            if led.is_none_or(|led| led.path != wanted.path) != new {
                continue;
            }
            let (path, release, adopt) = (wanted.path.clone(), wanted.release, target.adopts_static);
            let what = format!("lead {path} to {}", release.short());
            steps.push(&target.name, &what, deadline::QUICK_MS, Action::StaticSwitch { path, release, adopt });
        }
    }

    /// Removes releases that this app brought and that neither it nor a way back needs any more, and links that git has no more.
    pub(super) fn prune_statics(&self, steps: &mut Steps, record: Option<&AppRecord>) {
        let former = self.former.map(needed).unwrap_or_default();
        let now = record.map(needed).unwrap_or_default();
        let links = |record: Option<&AppRecord>| -> BTreeSet<String> {
            let held = record.into_iter().flat_map(|record| record.components.values());
            held.filter_map(|component| Some(component.statics.as_ref()?.path.clone())).collect()
        };
        let (led, leads) = (links(self.former), links(record));
        for (path, before) in &former {
            let keep = now.get(path).cloned().unwrap_or_default();
            let gone = led.contains(path) && !leads.contains(path);
            if gone || before.iter().any(|release| !keep.contains(release)) {
                let (link, keep) = (leads.contains(path), keep.into_iter().collect());
                let action = Action::StaticPrune { path: path.clone(), keep, link };
                steps.push("", &format!("clear away releases of {path}"), deadline::UNPACK_MS, action);
            }
        }
    }
}

/// Returns by path the releases of static files that a record and all before it name.
fn needed(record: &AppRecord) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut needed: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    let components = record.releases().flat_map(|record| record.components.values());
    for held in components.filter_map(|component| component.statics.as_ref()) {
        needed.entry(held.path.clone()).or_default().insert(held.release);
    }
    needed
}
