//! Transactions: typed steps carried out with a journal, forward or back, through any crash.
//!
//! # Flow
//! `stage` checks and stores a specification; `begin` starts a runner in a systemd unit of its own; `run` asks the pure `machine`
//! what is next, has a `step` do it, and journals both the intent and the outcome; `decide` hands it the manager's decisions;
//! `follow` sends the journal on; `resume` puts all of it in order after a boot.

pub mod begin;
pub mod collect;
pub mod decide;
pub mod folder;
pub mod follow;
mod host;
pub mod machine;
pub mod resume;
pub mod run;
pub mod stage;
pub mod status;
pub mod step;
pub mod switches;
pub mod validate;
pub mod wake;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_protocol::{
    BackupLive, BackupReply, BackupRequest, CertificateLive, CertificateSpec, DatabasesLive, DatabasesQuery, Decision,
    Fault, JournalEntry, Ledger, Observed, RestoreRequest, Restored, StageProblem, SwitchLive, TransactionId,
    TransactionSpec, TransactionStatus,
};

pub use host::Host;
pub(crate) use step::{ask_nginx, reload_nginx};

use crate::cancel::Cancel;
use crate::serve::Transactions;

impl Transactions for Host {
    fn stage(&self, spec: &TransactionSpec) -> Result<Vec<StageProblem>, Fault> {
        stage::stage(self, spec)
    }

    fn begin(&self, id: &TransactionId) -> Result<(), Fault> {
        begin::begin(self, id)
    }

    fn follow(
        &self,
        manager: &str,
        id: &TransactionId,
        from: u64,
        cancel: &Cancel,
        send: &mut dyn FnMut(JournalEntry) -> bool,
    ) -> Result<(), Fault> {
        follow::follow(self, manager, id, from, cancel, send)
    }

    fn decide(&self, id: &TransactionId, fence: u64, decision: Decision) -> Result<(), Fault> {
        decide::decide(self, id, fence, decision)
    }

    fn confirm(&self, id: &TransactionId, opened: Duration) -> Result<(), Fault> {
        decide::confirm(self, id, opened)
    }

    fn backups(&self, declarations: &[String]) -> BTreeMap<String, Observed<BackupLive>> {
        crate::backup::look(self, declarations)
    }

    fn certificates(
        &self,
        certificates: &BTreeMap<String, CertificateSpec>,
    ) -> BTreeMap<String, Observed<CertificateLive>> {
        crate::certificate::look(self, certificates)
    }

    fn databases(&self, declarations: &[DatabasesQuery]) -> BTreeMap<String, Observed<DatabasesLive>> {
        crate::databases::look(declarations)
    }

    fn restore(&self, request: &RestoreRequest) -> Result<Restored, Fault> {
        crate::backup::restore_in_unit(self, request)
    }

    fn backup(&self, request: BackupRequest) -> Result<BackupReply, Fault> {
        crate::backup::answer(self, request)
    }

    fn statuses(&self) -> Vec<TransactionStatus> {
        status::statuses(self)
    }

    fn ledger(&self) -> Observed<Ledger> {
        crate::ledger::read(&self.root)
    }

    fn switches(&self) -> Observed<BTreeMap<String, SwitchLive>> {
        switches::read(self)
    }

    fn fence(&self) -> Result<u64, Fault> {
        crate::fence::read(&self.root)
    }
}

/// The verb `run`: carries a begun transaction to its end. For the unit that `begin` starts.
pub fn run_command(host: &Host, id: &str) -> ExitCode {
    let result = id.parse::<TransactionId>().map_err(run::RunError::Unusable).and_then(|id| run::run(host, &id));
    match result {
        Ok(_) => {
            if let Err(error) = collect::collect(host, std::time::SystemTime::now()) {
                eprintln!("holdfast-host: throw away what is old: {error}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("holdfast-host: run {}: {error}", crate::exec::shown(id.as_bytes(), 96));
            ExitCode::from(if matches!(error, run::RunError::Unusable(_)) { begin::UNUSABLE } else { 1 })
        }
    }
}

/// The verb `resume`: puts the host in order after a boot or a firewall restart. For the unit that `begin` installs.
pub fn resume_command(host: &Host) -> ExitCode {
    crate::backup::resume_all(host);
    match resume::resume(host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("holdfast-host: resume: {fault}");
            ExitCode::FAILURE
        }
    }
}
