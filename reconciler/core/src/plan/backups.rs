//! How the backups of an app stand: their age against what was promised.

use holdfast_protocol::{BackupLive, LiveReport, Observed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{DesiredApp, DesiredBackup};

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
    /// What is wrong; empty when nothing is.
    pub problem: String,
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
    BackupStatus {
        class: spec.class.clone(),
        newest: live.newest.as_ref().map(|newest| newest.file.clone()).unwrap_or_default(),
        age_ms: live.newest.as_ref().map(|newest| newest.age_ms),
        size: live.newest.as_ref().map_or(0, |newest| newest.size),
        count: live.count,
        limit_ms: limit,
        drilled_ms: live.drilled.as_ref().map(|drilled| drilled.age_ms),
        problem: problems.join("; "),
    }
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
    use holdfast_protocol::{BackupSaid, BackupSeen, BackupSource, BackupSpec};

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
        };
        DesiredBackup { spec, when: Recurrence::Every(30) }
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
}
