use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{AppRecord, Digest, Ledger, Prerequisites};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::behaviour::{Behaviour, LIFE_MS};

/// What is on a host.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Files by path.
    pub files: BTreeMap<String, StoredFile>,
    /// Stored blobs.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// Units that run or are enabled.
    pub units: BTreeMap<String, UnitState>,
    /// Containers by project and service.
    pub projects: BTreeMap<String, BTreeMap<String, Container>>,
    /// Images that are here.
    pub images: BTreeSet<String>,
    /// Groups, accounts and folders that were made, as they are.
    pub prerequisites: Prerequisites,
    /// Static files by the path of their link: the release it leads to, and those that are unpacked.
    pub statics: BTreeMap<String, Statics>,
    /// Switches by listen address.
    pub switches: BTreeMap<String, u16>,
    /// What nginx has loaded.
    pub nginx: BTreeMap<String, Vec<u8>>,
    /// What systemd has loaded, by path.
    pub systemd: BTreeMap<String, Digest>,
    /// The ledger; `None` before the first transaction.
    pub ledger: Option<Ledger>,
    /// Certificates by their folder: for which names each is, and since when.
    pub certificates: BTreeMap<String, (Vec<String>, Instant)>,
    /// Programs that the host lacks.
    pub lacks: BTreeSet<String>,
    /// Backups taken by a transaction, by class.
    pub backups: BTreeMap<String, u32>,
    /// The revision of the database's schema.
    pub revision: String,
    /// SQL files that were applied, and their digests.
    pub sql: BTreeMap<String, String>,
    /// How often each migration has run.
    pub migrations: BTreeMap<String, u32>,
    /// What each port belongs to: filled from the records of transactions as they begin.
    pub places: BTreeMap<u16, Place>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
}

/// Static files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statics {
    /// The release that the link leads to.
    pub at: Option<Digest>,
    /// The releases that are unpacked.
    pub releases: BTreeSet<Digest>,
}

/// A unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// Whether it starts at boot.
    pub enabled: bool,
    /// The text it was started from, and when; `None` when it is stopped.
    pub running: Option<(String, Instant)>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its digest label.
    pub digest: String,
    /// The reference of its image.
    pub image: String,
    /// The compose file it was made from.
    pub text: String,
    /// When it was started; `None` when it is stopped.
    pub running: Option<Instant>,
}

/// What listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Units.
    pub units: BTreeSet<String>,
    /// Project.
    pub project: Option<String>,
}

impl World {
    /// Returns a file's text.
    pub fn text(&self, path: &str) -> Option<String> {
        self.files.get(path).map(|file| String::from_utf8_lossy(&file.bytes).into_owned())
    }

    /// Returns the text of a unit: its own file, or its template's.
    pub fn unit_text(&self, unit: &str) -> Option<String> {
        let template =
            unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@.{}", rest.rsplit_once('.')?.1)));
        [Some(unit.to_owned()), template]
            .into_iter()
            .flatten()
            .find_map(|name| self.text(&format!("/etc/systemd/system/{name}")))
    }

    /// Returns the texts of what runs of these units and projects; `None` when one of them does not run.
    pub fn running<'a>(
        &self,
        units: impl IntoIterator<Item = &'a String>,
        projects: impl IntoIterator<Item = &'a String>,
    ) -> Option<Vec<(String, Instant)>> {
        let mut texts = Vec::new();
        for unit in units {
            texts.push(self.units.get(unit)?.running.clone()?);
        }
        for project in projects {
            let containers = self.projects.get(project).filter(|containers| !containers.is_empty())?;
            for container in containers.values() {
                texts.push((container.text.clone(), container.running?));
            }
        }
        Some(texts)
    }

    /// Returns whether all of these run and would pass a check now.
    pub fn is_healthy<'a>(
        &self,
        units: impl IntoIterator<Item = &'a String>,
        projects: impl IntoIterator<Item = &'a String>,
    ) -> bool {
        self.running(units, projects).is_some_and(|texts| {
            texts.iter().all(|(text, since)| {
                let behaviour = Behaviour::of(text);
                let dead = behaviour.dies && since.elapsed().as_millis() > u128::from(LIFE_MS);
                !behaviour.unhealthy && !dead
            })
        })
    }

    /// Learns from a record which port belongs to what.
    pub fn learn(&mut self, record: &AppRecord) {
        for component in record.components.values() {
            for slot in component.slots.values() {
                let place = Place { units: slot.units.keys().cloned().collect(), project: slot.project.clone() };
                self.places.extend(slot.ports.values().map(|port| (*port, place.clone())));
            }
        }
    }

    /// Returns switches that lead nowhere: a request through them would be lost.
    pub fn dead_switches(&self) -> Vec<String> {
        let dead = |(_, port): &(&String, &u16)| match self.places.get(*port) {
            Some(place) => self.running(&place.units, &place.project).is_none(),
            None => true,
        };
        self.switches
            .iter()
            .filter(dead)
            .map(|(listen, port)| format!("{listen} leads to {port}, where nothing runs"))
            .collect()
    }
}
