//! Desired, live and last applied to the complete, ordered, reviewable set of changes. The only place where desired and live meet.
//!
//! # Flow
//! [`observe_request`] says what to ask a host; [`plan`] takes what all hosts said and gives a [`Plan`]; [`staleness`] compares a
//! saved plan with a fresh one. Each thing (file, unit, service, switch) is judged by an ordered table of rules, of which the
//! first that matches decides; its word is in [`Change::rule`].
//!
//! # Guarantees
//! A thing that only the host has is never touched. A thing that could not be looked at never changes. Equal input gives an equal
//! plan, in whatever order the host listed its answer, and the plan after a successful apply is empty.

mod archives;
mod backups;
mod because;
mod capacity;
mod certificates;
mod component;
mod databases;
mod files;
mod fleet;
mod host;
mod ignore;
mod kept;
mod migrations;
mod model;
mod needs;
mod observe;
mod options;
mod place;
mod ports;
mod prerequisites;
mod prune;
mod rule;
mod seal;
mod services;
mod slots;
mod statics;
mod status;
mod switches;
mod text_diff;
mod units;

pub(crate) use backups::span;
pub use backups::{BackupStatus, OffsiteStatus, backup_report};
pub(crate) use capacity::memory_of;
pub use certificates::{CertificateStatus, certificate_report};
pub(crate) use databases::is_declaration;
pub use fleet::{app_digest, drift, plan};
pub use kept::{keeps_previous, kept_until};
pub use model::*;
pub(crate) use model::{KEEP_PREVIOUS_OVER, LOGIN_OVER};
pub use observe::{file_digest, observe_request};
pub use options::{PlanOptions, Quarantined};
pub use seal::{Stale, staleness};
pub(crate) use statics::STATIC_ADOPTED;
pub use status::{AppStatus, Health, MigrationStatus, SyncStatus, status};
pub use text_diff::unified;
pub(crate) use units::{restarts_unit, unit_of};

#[cfg(test)]
pub(crate) mod ideal;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
