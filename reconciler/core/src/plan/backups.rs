//! How the backups of an app stand: their age against what was promised.

use std::collections::BTreeMap;

use holdfast_protocol::{BackupLive, LiveReport, Observed, OffsiteSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{DesiredApp, DesiredBackup, DesiredHost};
use crate::id::AppName;

/// One class of backups on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupStatus {
    /// The class.
    pub class: String,
    /// File name of the newest good one; empty when there is none.
    pub newest: String,
    /// Its age in milliseconds when it was looked at.
    pub age_ms: Option<u64>,
    /// Its size in bytes.
    pub size: u64,
    /// How many good ones are kept.
    pub count: u32,
    /// How old the newest may get, in milliseconds: the declared rpo, or else two periods.
    pub limit_ms: u64,
    /// How long ago the last drill passed, in milliseconds.
    pub drilled_ms: Option<u64>,
    /// Its copies on another host; `None` where none are declared.
    pub offsite: Option<OffsiteStatus>,
    /// Whether it, or its newest copy, is older than was promised.
    pub late: bool,
    /// What is wrong; empty when nothing is.
    pub problem: String,
}

/// The copies of one class of backups on its off-site host, as they stood when the manager last looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OffsiteStatus {
    /// The off-site host.
    pub host: String,
    /// File name of the newest backup of which there is a copy; empty when there is none.
    pub newest: String,
    /// The age of that backup in milliseconds.
    pub age_ms: Option<u64>,
    /// Size of the newest copy in bytes.
    pub size: u64,
    /// How many copies are kept.
    pub count: u32,
    /// How old the backup in the newest copy may get, in milliseconds.
    pub limit_ms: u64,
    /// Whether copies are encrypted.
    pub encrypted: bool,
    /// How long ago the manager looked, in milliseconds.
    pub looked_ms: Option<u64>,
}

/// Returns how the backups of an app stand. What is declared and not yet on the host is the plan's matter.
pub(super) fn backups(app: &DesiredApp, report: &LiveReport) -> Vec<BackupStatus> {
    let declared = app.components.iter().flat_map(|component| &component.backups);
    declared
        .filter_map(|(path, backup)| match report.backups.get(path) {
            Some(Observed::Seen(live)) => Some(judge(backup, live)),
            Some(Observed::Unknown(why)) => {
                Some(BackupStatus { problem: why.clone(), ..judge(backup, &BackupLive::default()) })
            }
            Some(Observed::Absent) | None => None,
        })
        .collect()
}

/// Returns how the backups of a host stand, by app.
pub fn backup_report(host: &DesiredHost, report: &LiveReport) -> BTreeMap<AppName, Vec<BackupStatus>> {
    host.apps.iter().map(|(name, app)| (name.clone(), backups(app, report))).collect()
}

fn judge(backup: &DesiredBackup, live: &BackupLive) -> BackupStatus {
    let spec = &backup.spec;
    let two_periods = backup.when.longest().0.saturating_mul(2).saturating_add(spec.timeout_ms);
    let limit = spec.rpo_ms.unwrap_or(two_periods);
    let wanted = match spec.rpo_ms {
        Some(rpo) => format!("its rpo of {}", span(rpo)),
        None => "two periods".to_owned(),
    };
    let mut problems = Vec::new();
    match &live.newest {
        Some(newest) if newest.age_ms > limit => problems.push(format!("older than {wanted}")),
        None if live.declared_age_ms > limit => {
            problems.push(format!("none is there, {} after it was declared", span(live.declared_age_ms)));
        }
        _ => {}
    }
    if let Some(failed) = &live.failed {
        problems.push(format!("the last run failed {} ago: {}", span(failed.age_ms), failed.text));
    }
    if let Some(failed) = &live.drill_failed {
        problems.push(format!("the last drill failed {} ago: {}", span(failed.age_ms), failed.text));
    } else if let Some(period) = spec.drill_ms {
        let since = live.drilled.as_ref().map_or(live.declared_age_ms, |drilled| drilled.age_ms);
        if since > period.saturating_mul(2) {
            problems.push(format!("no drill has passed for {}", span(since)));
        }
    }
    let offsite = spec.offsite.as_ref().map(|declared| {
        let (status, wrong) = copies(declared, live);
        problems.extend(wrong);
        status
    });
    let late_copy = offsite
        .as_ref()
        .is_some_and(|copies: &OffsiteStatus| copies.age_ms.unwrap_or(live.declared_age_ms) > copies.limit_ms);
    BackupStatus {
        late: late_copy || live.newest.as_ref().map_or(live.declared_age_ms, |newest| newest.age_ms) > limit,
        class: spec.class.clone(),
        newest: live.newest.as_ref().map(|newest| newest.file.clone()).unwrap_or_default(),
        age_ms: live.newest.as_ref().map(|newest| newest.age_ms),
        size: live.newest.as_ref().map_or(0, |newest| newest.size),
        count: live.count,
        limit_ms: limit,
        drilled_ms: live.drilled.as_ref().map(|drilled| drilled.age_ms),
        offsite,
        problem: problems.join("; "),
    }
}

/// Returns how copies stand, and what is wrong with them.
fn copies(declared: &OffsiteSpec, live: &BackupLive) -> (OffsiteStatus, Vec<String>) {
    // What was said of another host says nothing of this one.
    let seen = live.offsite.as_ref().filter(|seen| seen.host == declared.host);
    let newest = seen.and_then(|seen| seen.newest.as_ref());
    let (host, limit) = (&declared.host, declared.rpo_ms);
    let mut problems = Vec::new();
    match newest {
        Some(newest) if newest.age_ms > limit => {
            let (age, limit) = (span(newest.age_ms), span(limit));
            problems.push(format!("the newest copy on {host} is of {age} ago, older than {limit}"));
        }
        None if live.declared_age_ms > limit => {
            problems.push(format!("no copy is on {host}, {} after it was declared", span(live.declared_age_ms)));
        }
        _ => {}
    }
    if let Some(failed) = seen.and_then(|seen| seen.failed.as_ref()) {
        problems.push(format!("copying to {host} failed {} ago: {}", span(failed.age_ms), failed.text));
    } else if let Some(looked) = seen.and_then(|seen| seen.looked_ms).filter(|looked| *looked > limit) {
        problems.push(format!("nobody has looked at the copies on {host} for {}", span(looked)));
    }
    if let Some(plain) = seen.map(|seen| seen.plain).filter(|plain| *plain > 0) {
        problems.push(format!("{plain} copies on {host} are older than `encrypt_to` and not encrypted"));
    }
    let status = OffsiteStatus {
        host: host.clone(),
        newest: newest.map(|newest| newest.file.clone()).unwrap_or_default(),
        age_ms: newest.map(|newest| newest.age_ms),
        size: newest.map_or(0, |newest| newest.size),
        count: seen.map_or(0, |seen| seen.count),
        limit_ms: limit,
        encrypted: !declared.encrypt_to.is_empty(),
        looked_ms: seen.and_then(|seen| seen.looked_ms),
    };
    (status, problems)
}

/// Returns a length of time as people say it: `40s`, `12m`, `3h`, `2d`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{BackupSaid, BackupSeen, BackupSource, BackupSpec, OffsiteLive};

    use super::*;
    use crate::config::Recurrence;

    const HOUR: u64 = 3_600_000;

    fn declared(rpo_ms: Option<u64>) -> DesiredBackup {
        let spec = BackupSpec {
            environment: "prod".to_owned(),
            app: "shop".to_owned(),
            class: "database".to_owned(),
            source: BackupSource::Files { paths: vec!["/srv/shop".to_owned()] },
            keep_ms: 1,
            at_least: 1,
            floor: 1,
            rpo_ms,
            timeout_ms: 60_000,
            drill_ms: Some(7 * 24 * HOUR),
            offsite: None,
            before: None,
            writers: holdfast_protocol::BackupWriters::default(),
        };
        DesiredBackup { spec, when: Recurrence::Every(30), offsite: None }
    }

    fn live(age_ms: u64) -> BackupLive {
        let newest = BackupSeen { file: "database-1.dump".to_owned(), age_ms, size: 5 };
        BackupLive { declared_age_ms: 2 * HOUR, newest: Some(newest), count: 3, ..BackupLive::default() }
    }

    #[test]
    fn cap_70_age_is_held_against_the_promise() {
        let problem = |rpo, live: &BackupLive| judge(&declared(rpo), live).problem;
        assert_eq!(problem(Some(HOUR), &live(HOUR)), "");
        assert_eq!(problem(Some(HOUR), &live(HOUR + 1)), "older than its rpo of 60m");
        assert_eq!(problem(None, &live(HOUR + 60_000)), "");
        assert_eq!(problem(None, &live(HOUR + 60_001)), "older than two periods");
        let none = BackupLive { newest: None, ..live(0) };
        assert_eq!(problem(Some(HOUR), &none), "none is there, 2h after it was declared");
        assert_eq!(problem(Some(HOUR), &BackupLive { declared_age_ms: 5, ..none }), "", "the first is not due yet");
        let said = |age_ms: u64| Some(BackupSaid { age_ms, text: "pg_dump: error".to_owned() });
        let failed = BackupLive { failed: said(240_000), ..live(0) };
        assert_eq!(problem(Some(HOUR), &failed), "the last run failed 4m ago: pg_dump: error");
        let drill = BackupLive { drill_failed: said(1000), drilled: said(HOUR), ..live(0) };
        assert_eq!(problem(Some(HOUR), &drill), "the last drill failed 1s ago: pg_dump: error");
        let late = BackupLive { drilled: said(15 * 24 * HOUR), ..live(0) };
        assert_eq!(problem(Some(HOUR), &late), "no drill has passed for 15d");
    }

    #[test]
    fn cap_64_the_age_of_copies_is_counted_by_itself() {
        let mut backup = declared(Some(HOUR));
        let (host, encrypt_to) = ("vault".to_owned(), vec!["age1".to_owned()]);
        backup.spec.offsite = Some(OffsiteSpec { host, keep_ms: 1, at_least: 1, rpo_ms: 2 * HOUR, encrypt_to });
        let seen = |age_ms: u64| OffsiteLive {
            host: "vault".to_owned(),
            looked_ms: Some(1000),
            newest: Some(BackupSeen { file: "database-0.dump".to_owned(), age_ms, size: 7 }),
            count: 2,
            plain: 0,
            failed: None,
        };
        let status = |offsite| judge(&backup, &BackupLive { offsite, ..live(0) });
        let good = status(Some(seen(2 * HOUR)));
        assert_eq!(good.problem, "");
        let copies = good.offsite.unwrap();
        assert_eq!((copies.age_ms, copies.count, copies.size, copies.encrypted), (Some(2 * HOUR), 2, 7, true));
        let problem = |offsite| status(Some(offsite)).problem;
        assert_eq!(problem(seen(2 * HOUR + 1)), "the newest copy on vault is of 2h ago, older than 2h");
        let said = Some(BackupSaid { age_ms: 60_000, text: "it is away".to_owned() });
        assert_eq!(problem(OffsiteLive { failed: said, ..seen(0) }), "copying to vault failed 60s ago: it is away");
        let idle = OffsiteLive { looked_ms: Some(3 * HOUR), ..seen(0) };
        assert_eq!(problem(idle), "nobody has looked at the copies on vault for 3h");
        assert_eq!(
            problem(OffsiteLive { plain: 1, ..seen(0) }),
            "1 copies on vault are older than `encrypt_to` and not encrypted"
        );
        let none = BackupLive { offsite: None, declared_age_ms: HOUR, ..live(0) };
        assert_eq!(judge(&backup, &none).problem, "", "the first is not due yet");
        let late = judge(&backup, &BackupLive { declared_age_ms: 3 * HOUR, ..live(0) });
        assert_eq!(late.problem, "no copy is on vault, 3h after it was declared");
        let other = OffsiteLive { host: "old".to_owned(), ..seen(0) };
        assert_eq!(status(Some(other)).offsite.unwrap().age_ms, None, "copies elsewhere say nothing of this one");
    }
}
