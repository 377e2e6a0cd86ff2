use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{
    Action, ActiveGoal, AppRecord, Capability, Digest, Hello, ImageArchive, LiveReport, Step, SwitchMethod, Watch,
};

use crate::config::Strategy;
use crate::desired::DesiredApp;
use crate::event::{IMAGES, PORTS_FREE, PREFLIGHT, SEED, SWITCH};
use crate::plan::is_declaration;
use crate::time::Timestamp;

use super::rollback::Downgrade;
use super::steps::{Steps, file_put, is_nginx};
use super::target::{Lane, Target, Work};
use super::{deadline, in_place, record, slots};

/// Bytes that must be free for files alone, and with containers: journals and temporary files must never be cut off.
const DISK_FREE: (u64, u64) = (32 << 20, 256 << 20);

/// What the phases of one transaction are made of.
#[derive(Debug)]
pub(super) struct Assembly<'a> {
    /// The ledger's name of the app.
    pub(super) key: &'a str,
    /// What git says; `None` on the way back and for what git no longer has.
    pub(super) app: Option<&'a DesiredApp>,
    pub(super) former: Option<&'a AppRecord>,
    pub(super) live: &'a LiveReport,
    pub(super) hello: &'a Hello,
    pub(super) targets: &'a [Target],
    pub(super) release: &'a str,
    pub(super) now: Timestamp,
    /// Migrations to be taken back.
    pub(super) downgrades: &'a [Downgrade],
}

impl Assembly<'_> {
    /// Returns all that comes before the *ready* gate.
    pub(super) fn prepare(&self) -> Vec<Step> {
        let kept = self.kept();
        let mut steps = self.preflight();
        self.provide(&mut steps);
        self.certificates(&mut steps);
        self.unpack(&mut steps);
        let stops = self.stops();
        for target in self.targets {
            match &target.work {
                Work::InPlace(touched) if target.lane() == Lane::Prepare => {
                    steps.append(in_place::steps(target, touched, self.live, &kept));
                }
                Work::IdleSlot if stops => steps.append(slots::written(target, &kept)),
                Work::IdleSlot => steps.append(Self::idle(target, &kept)),
                Work::InPlace(_) | Work::Nothing => {}
            }
        }
        if stops {
            steps.append(self.maintenance());
        }
        if !self.migrates_after_the_gate() {
            self.seeds(&mut steps);
        }
        let (put, remove) = self.nginx_files();
        if !put.is_empty() || !remove.is_empty() {
            let put = put.iter().map(|(path, target)| file_put(path, &target.place.files[*path])).collect();
            let remove = remove.iter().cloned().collect();
            steps.push("", "nginx: test the new files", deadline::NGINX_MS, Action::NginxTest { put, remove });
        }
        steps.into_list()
    }

    /// Makes what has to be on the host: over all components, groups first, for accounts may name them, and folders last.
    fn provide(&self, steps: &mut Steps) {
        let mut wanted: Vec<(u8, &str, String, &Action)> = Vec::new();
        for target in self.targets {
            for action in &target.provided {
                let (rank, what) = match action {
                    Action::Group { name } => (0, format!("group {name}")),
                    Action::Account { name, .. } => (1, format!("account {name}")),
                    Action::Folder { path, .. } => (2, format!("folder {path}")),
                    _ => continue,
                };
                wanted.push((rank, &target.name, what, action));
            }
        }
        wanted.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        for (_, component, what, action) in wanted {
            steps.push(component, &what, deadline::QUICK_MS, action.clone());
        }
    }

    /// Returns whether tables may come only after the *ready* gate.
    fn migrates_after_the_gate(&self) -> bool {
        let late = |target: &Target| matches!(target.work, Work::InPlace(_)) && target.lane() == Lane::Promote;
        self.targets.iter().any(|target| target.migration.is_some() && late(target))
    }

    /// Brings initial data: after every migration of this host, for its tables must be there.
    fn seeds(&self, steps: &mut Steps) {
        for target in self.targets.iter().filter(|target| target.is_touched()) {
            let declared = target.place.files.keys().find(|path| is_declaration(path));
            let has_seeds = target.place.files.keys().any(|path| path.strip_suffix(".sql").is_some());
            if let Some(declaration) = declared.filter(|_| has_seeds).cloned() {
                steps.push(&target.name, SEED, deadline::DATABASES_MS, Action::Seed { declaration });
            }
        }
    }

    /// Returns whether what serves is stopped before the schema changes.
    fn stops(&self) -> bool {
        !self.downgrades.is_empty() || self.targets.iter().any(Target::stops)
    }

    /// Returns the steps while nobody is served: everything that changes stops, the schema changes, the new release starts. Undone in
    /// reverse, the schema is back before the old release starts again.
    fn maintenance(&self) -> Steps {
        let mut steps = Steps::default();
        for target in self.targets.iter().filter(|target| target.is_touched()) {
            let former = self.former.and_then(|former| former.components.get(&target.name));
            let serving = former.and_then(|former| record::serving(former, ""));
            let Some(serving) = serving.filter(|_| target.strategy != Strategy::Stateful) else { continue };
            // What is started again is only back when it answers, if it did.
            if let Some(check) = serving.health.as_ref().filter(|_| in_place::is_running(&serving, self.live)) {
                steps.on_undo(&target.name, "healthy", deadline::health(check), Action::Health(check.clone()));
            }
            for unit in serving.units.keys().filter(|unit| !serving.is_triggered(unit)) {
                steps.unit(&target.name, unit, None, ActiveGoal::Stopped);
            }
            if let Some(project) = &serving.project {
                steps.stop(&target.name, &project.name, target.stop_grace_ms);
            }
        }
        for downgrade in self.downgrades {
            steps.append(downgrade.steps());
        }
        // What is changed in place migrates when its files are there.
        let idle = || self.targets.iter().filter(|target| target.work == Work::IdleSlot);
        for target in idle() {
            steps.append(in_place::migrate(target));
        }
        for target in idle() {
            if target.strategy != Strategy::Workers {
                steps.append(slots::started(target));
            }
        }
        steps
    }

    fn idle(target: &Target, kept: &BTreeSet<String>) -> Steps {
        let mut steps = slots::written(target, kept);
        let migrate = |steps: &mut Steps| steps.append(in_place::migrate(target));
        if target.strategy == Strategy::Workers {
            // New workers take work as soon as they run, so they are started after the gate.
            migrate(&mut steps);
            return steps;
        }
        if target.is_first {
            // A first release may need its tables to be healthy at all, and no older one could mind.
            migrate(&mut steps);
            steps.append(slots::started(target));
            return steps;
        }
        steps.append(slots::started(target));
        migrate(&mut steps);
        if let (Some(_), Some(check)) = (&target.migration, &target.place.health) {
            steps.health(&target.name, "healthy after the migration", check);
        }
        steps
    }

    /// Has something to serve where nginx's files will name a certificate: `nginx -t` reads it.
    fn certificates(&self, steps: &mut Steps) {
        let touches_nginx = self.touches_nginx();
        for target in self.targets.iter().filter(|target| target.is_touched() || touches_nginx) {
            if let Some(spec) = &target.place.certificate {
                let action = Action::Certificate(spec.clone());
                steps.push(&target.name, "a certificate to begin with", deadline::QUICK_MS, action);
            }
        }
    }

    fn preflight(&self) -> Steps {
        let mut steps = Steps::default();
        let touched: Vec<&Target> = self.targets.iter().filter(|target| target.is_touched()).collect();
        let starting: Vec<_> = touched.iter().filter_map(|target| target.project_to_bring_up()).collect();
        let docker = !starting.is_empty();
        let nginx = self.touches_nginx();
        let action = Action::Preflight {
            ports_free: Vec::new(),
            disk_free: if docker { DISK_FREE.1 } else { DISK_FREE.0 },
            nginx,
            docker,
        };
        steps.push("", PREFLIGHT, deadline::QUICK_MS, action);
        for target in &touched {
            let starts = target.work == Work::IdleSlot || target.before.is_none();
            // nginx owns the ports of its sites, and keeps them.
            if !starts || target.place.ports.is_empty() || in_place::is_edge(target) {
                continue;
            }
            let action = Action::Preflight {
                ports_free: target.place.ports.values().copied().collect::<BTreeSet<_>>().into_iter().collect(),
                disk_free: 0,
                nginx: false,
                docker: false,
            };
            steps.push(&target.name, PORTS_FREE, deadline::QUICK_MS, action);
        }
        // What is only started again has all it needs.
        let made = touched.iter().filter(|target| !target.is_warm).filter_map(|target| target.project_to_bring_up());
        let images: BTreeSet<String> = made.flat_map(|project| project.images.iter().cloned()).collect();
        if !images.is_empty() {
            let archives = self.archives(&images);
            let action = Action::Images { images: images.into_iter().collect(), archives };
            steps.push("", IMAGES, deadline::IMAGES_MS, action);
        }
        steps
    }

    /// Returns the archives that some of these images come in, each with those.
    fn archives(&self, images: &BTreeSet<String>) -> Vec<ImageArchive> {
        let mut archives: BTreeMap<Digest, ImageArchive> = BTreeMap::new();
        for image in images {
            let Some(held) = self.app.and_then(|app| app.held(image)) else { continue };
            let (file, blob) = (&held.archive.file, held.archive.sha256);
            let empty = || ImageArchive { file: file.clone(), blob, size: held.size, images: BTreeMap::new() };
            archives.entry(blob).or_insert_with(empty).images.insert(image.clone(), held.ids.clone());
        }
        archives.into_values().collect()
    }

    /// Returns all that comes between the gate and the watch window.
    pub(super) fn promote(&self) -> Vec<Step> {
        let kept = self.kept();
        let mut steps = Steps::default();
        for target in self.targets {
            match &target.work {
                Work::InPlace(touched) if target.lane() == Lane::Promote => {
                    steps.append(in_place::steps(target, touched, self.live, &kept));
                }
                Work::IdleSlot if target.strategy == Strategy::Workers => steps.append(slots::started(target)),
                Work::IdleSlot | Work::InPlace(_) | Work::Nothing => {}
            }
        }
        if self.migrates_after_the_gate() {
            self.seeds(&mut steps);
        }
        // A site may name a switch that is new: it must answer before nginx asks it. One that is there already moves only when nginx
        // has the new site, for that is the moment that counts.
        let (new, moved): (Vec<_>, Vec<_>) = self.switches().into_iter().partition(|(_, _, from, _)| from.is_none());
        self.switch(&mut steps, &new);
        self.lead(&mut steps, true);
        self.edge(&mut steps);
        self.switch(&mut steps, &moved);
        self.lead(&mut steps, false);
        self.proofs(&mut steps);
        steps.into_list()
    }

    /// Returns target, listen address, where it goes and where it is to go, for each switch that is not right.
    fn switches(&self) -> Vec<(&Target, &String, Option<u16>, u16)> {
        let touched = self.targets.iter().filter(|target| target.is_touched());
        touched
            .flat_map(|target| {
                target.switches.iter().map(move |(listen, to)| (target, listen, self.switch_at(listen), *to))
            })
            .filter(|(_, _, from, to)| *from != Some(*to))
            .collect()
    }

    fn switch_at(&self, listen: &str) -> Option<u16> {
        self.live.switches.seen().and_then(|switches| switches.get(listen)).map(|switch| switch.to)
    }

    fn switch(&self, steps: &mut Steps, switches: &[(&Target, &String, Option<u16>, u16)]) {
        let method = if self.hello.capabilities.contains(&Capability::NftRedirect) {
            SwitchMethod::Redirect
        } else {
            SwitchMethod::Reload
        };
        for (target, listen, from, to) in switches {
            let action = Action::Switch { listen: (*listen).clone(), from: *from, to: *to, method };
            let slot = target.active.map_or("", |slot| slot.as_str());
            let what = format!("{SWITCH} {listen} to {slot} on {to}");
            steps.push(&target.name, &what, deadline::switch(method), action);
        }
    }

    /// Writes nginx's files and lets it read them.
    fn edge(&self, steps: &mut Steps) {
        let (put, remove) = self.nginx_files();
        if put.is_empty() && remove.is_empty() {
            return;
        }
        steps.on_undo("", "reload nginx", deadline::NGINX_MS, Action::NginxReload);
        for (path, target) in &put {
            steps.put(&target.name, path, &target.place.files[*path]);
        }
        for path in &remove {
            steps.remove("", path);
        }
        steps.push("", "nginx: reload", deadline::NGINX_MS, Action::NginxReload);
    }

    fn proofs(&self, steps: &mut Steps) {
        for target in self.targets.iter().filter(|target| target.is_touched()) {
            if let Some(check) = target.place.health.as_ref().filter(|_| in_place::is_edge(target)) {
                steps.health(&target.name, "healthy", check);
            }
            if let Some(prove) = &target.place.prove {
                let what = format!("nginx answers with {}", prove.expect);
                steps.push(&target.name, &what, deadline::QUICK_MS, Action::Prove(prove.clone()));
            }
        }
        self.smoke(steps);
    }

    /// Asks what decides whether the release stays.
    fn smoke(&self, steps: &mut Steps) {
        for target in self.targets.iter().filter(|target| target.is_touched() && !target.place.smoke.is_empty()) {
            let requests = target.place.smoke.clone();
            steps.push(&target.name, "smoke tests", deadline::smoke(requests.len()), Action::Smoke(requests));
        }
    }

    /// Returns the watch window: one for the app, as long as its longest, as strict as its strictest.
    pub(super) fn watch(&self) -> Vec<Step> {
        let watched: Vec<_> = self
            .targets
            .iter()
            .filter(|target| target.is_touched())
            .filter_map(|target| Some((target.watch.as_ref()?, target.place.health.clone()?)))
            .filter(|(watch, _)| watch.window.0 > 0)
            .collect();
        let Some(window_ms) = watched.iter().map(|(watch, _)| watch.window.0).max() else { return Vec::new() };
        let max_error_permille = watched.iter().map(|(watch, _)| watch.max_error_permille).min().unwrap_or_default();
        // How fast is fast enough is each component's own.
        let max_p95_ms = watched.iter().map(|(watch, _)| watch.max_p95.map(|time| time.0)).collect();
        let checks = watched.into_iter().map(|(_, check)| check).collect();
        let touched = self.targets.iter().filter(|target| target.is_touched());
        let metrics = touched.filter_map(|target| target.place.metrics.clone()).collect();
        let mut steps = Steps::default();
        let action = Action::Watch(Watch { window_ms, checks, max_error_permille, max_p95_ms, metrics });
        steps.push("", "watch", window_ms.saturating_add(deadline::MARGIN_MS), action);
        self.smoke(&mut steps);
        steps.into_list()
    }

    fn touches_nginx(&self) -> bool {
        let (put, remove) = self.nginx_files();
        !put.is_empty() || !remove.is_empty()
    }

    /// Returns nginx's files to write, with whose they are, and to remove.
    fn nginx_files(&self) -> (BTreeMap<&String, &Target>, BTreeSet<String>) {
        let mut put = BTreeMap::new();
        for target in self.targets {
            let paths: Vec<&String> = match &target.work {
                Work::Nothing => Vec::new(),
                Work::IdleSlot => target.place.files.keys().collect(),
                Work::InPlace(touched) => {
                    target.place.files.keys().filter(|path| touched.files.contains(*path)).collect()
                }
            };
            put.extend(paths.into_iter().filter(|path| is_nginx(path)).map(|path| (path, target)));
        }
        let kept = self.kept();
        let former = self.former.into_iter().flat_map(|former| former.components.values());
        let remove =
            former.flat_map(record::paths).filter(|path| is_nginx(path) && !kept.contains(*path)).cloned().collect();
        (put, remove)
    }

    /// Returns every path that the app will claim: none of them is removed.
    pub(super) fn kept(&self) -> BTreeSet<String> {
        record::components(self.targets, self.former, self.now)
            .values()
            .flat_map(|component| record::paths(component).cloned().collect::<Vec<_>>())
            .collect()
    }
}
