//! Looks at all of a host in one go.
//!
//! # Flow
//! [`Observer::observe`] takes what the manager asked for and what the transaction side knows, adds what the ledger names, and
//! gives the live report. It keeps connections and what it found out between looks, so a second look is cheap.

mod files;
mod listeners;
mod nginx;
mod ports;
mod prerequisites;
mod resources;
mod subjects;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_protocol::{
    BackupLive, CertificateLive, DatabasesLive, Hello, Ledger, LiveReport, ObserveRequest, Observed, ProjectLive,
    SwitchLive, TransactionStatus,
};

use crate::accounts::Accounts;
use crate::docker::{Engine, Made};
use crate::paths::{Root, System};
use crate::systemd::Units;
pub use files::{MAX_CONTENT, MAX_CONTENTS};
pub use subjects::Subjects;

/// What the transaction side knows of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The ledger.
    pub ledger: Observed<Ledger>,
    /// The live switches.
    pub switches: Observed<BTreeMap<String, SwitchLive>>,
    /// The transactions that are not finished, and the last few that are.
    pub transactions: Vec<TransactionStatus>,
    /// How databases stand, by the path of their declaration.
    pub databases: BTreeMap<String, Observed<DatabasesLive>>,
    /// How backups stand, by the path of their declaration.
    pub backups: BTreeMap<String, Observed<BackupLive>>,
    /// How certificates stand, by the path of their declaration.
    pub certificates: BTreeMap<String, Observed<CertificateLive>>,
    /// The fence.
    pub fence: u64,
}

/// Looks at a host.
#[derive(Debug)]
pub struct Observer {
    root: Root,
    system: System,
    kept: Mutex<Kept>,
}

/// What is kept between looks.
#[derive(Debug)]
struct Kept {
    accounts: Accounts,
    files: files::Files,
    units: Units,
    engine: Engine,
    nginx: nginx::Nginx,
    ports: ports::Ports,
    packages: prerequisites::Packages,
}

impl Observer {
    /// Returns one that has looked at nothing yet.
    pub fn new(root: Root, system: System) -> Self {
        let kept = Kept {
            accounts: Accounts::new(&system.etc),
            files: files::Files::default(),
            units: Units::new(system.clone()),
            engine: Engine::new(system.clone()),
            nginx: nginx::Nginx::new(system.clone()),
            ports: ports::Ports::new(system.proc.clone()),
            packages: prerequisites::Packages::new(system.packages.clone()),
        };
        Self { root, system, kept: Mutex::new(kept) }
    }

    /// Returns where the host keeps what is looked at.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns what the host is and has.
    pub fn hello(&self, fence: u64) -> Hello {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { units, engine, .. } = &mut *kept;
        crate::hello::hello(&self.root, &self.system, units, engine, fence)
    }

    /// Says of containers that a backup has stand still that they run: they will in a moment, and nobody changed them.
    fn run_on(&self, projects: &mut BTreeMap<String, Observed<ProjectLive>>) {
        let seen = projects.values_mut().filter_map(|project| match project {
            Observed::Seen(live) => Some(live),
            Observed::Absent | Observed::Unknown(_) => None,
        });
        let mut paused = seen.flat_map(|live| &mut live.containers).filter(|one| one.state == "paused").peekable();
        if paused.peek().is_none() {
            return;
        }
        let still = crate::backup::standing_still(&self.root);
        for container in paused.filter(|container| still.contains(&container.id)) {
            "running".clone_into(&mut container.state);
        }
    }

    /// Returns what is there now.
    pub fn observe(&self, request: &ObserveRequest, known: Known) -> LiveReport {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let subjects = Subjects::of(request, known.ledger.seen());
        // With accounts that cannot be read owners show as numbers, which match no name: no silent agreement.
        let known_accounts = kept.accounts.refresh().map_err(|error| format!("read the accounts: {error}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let Kept { accounts, files, units, engine, nginx, ports, packages } = &mut *kept;
        let prerequisites = prerequisites::look(&request.prerequisites, accounts, &known_accounts, packages);
        let files = files.look(&subjects.files, accounts, now);

        let mut names: Vec<&str> = subjects.units.iter().copied().collect();
        if !subjects.units.contains(nginx::UNIT) {
            names.push(nginx::UNIT);
        }
        let mut units = units.states(&names);
        let nginx = nginx.look(units.get(nginx::UNIT), Instant::now());
        units.retain(|name, _| subjects.units.contains(name.as_str()));

        let projects = if subjects.projects.is_empty() {
            BTreeMap::new()
        } else {
            let mut projects = Made::read(&self.root).judge(engine.details(&subjects.projects));
            self.run_on(&mut projects);
            projects
        };
        let images = request.images.iter().map(|reference| (reference.clone(), engine.image(reference))).collect();
        LiveReport {
            files,
            units,
            projects,
            images,
            nginx,
            switches: known.switches,
            backups: known.backups,
            certificates: known.certificates,
            prerequisites,
            databases: known.databases,
            statics: crate::statics::look(&request.statics),
            listening: ports.look().unwrap_or_default(),
            resources: resources::look(&self.root, &self.system),
            ledger: known.ledger,
            transactions: known.transactions,
            fence: known.fence,
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::ContainerLive;

    use super::*;

    #[test]
    fn cap_68_what_a_backup_has_stand_still_runs_and_what_somebody_else_paused_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        std::fs::create_dir(root.paused()).unwrap();
        std::fs::write(root.paused().join("prod-shop-objects"), "ours\nours-too\n").unwrap();
        let container = |id: &str, state: &str| ContainerLive {
            service: id.to_owned(),
            name: id.to_owned(),
            id: id.to_owned(),
            image: String::new(),
            digest: String::new(),
            config_hash: String::new(),
            updated: String::new(),
            state: state.to_owned(),
            health: String::new(),
            restarts: 0,
            started_at: String::new(),
        };
        let containers =
            vec![container("ours", "paused"), container("theirs", "paused"), container("ours-too", "exited")];
        let mut projects = BTreeMap::from([("shop".to_owned(), Observed::Seen(ProjectLive { containers }))]);
        Observer::new(root, System::real()).run_on(&mut projects);
        let states: Vec<&str> =
            projects["shop"].seen().unwrap().containers.iter().map(|container| container.state.as_str()).collect();
        assert_eq!(states, ["running", "paused", "exited"]);
    }
}
