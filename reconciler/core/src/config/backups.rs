//! Backups as written to backups of the model: one source, one schedule, and an rpo that the period can meet.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::hosts::Hosts;
use super::model::{BackupFrom, BackupPlan, OffsitePlan, Strategy, Weekday};
use super::place::At;
use super::raw::{self, BackupClass, ClockTime, Day};
use super::suggest;
use crate::id::HostName;
use crate::time::Millis;

/// What `timeout` is when it is not given: time for a database of some gigabytes.
const TIMEOUT: Millis = Millis(600_000);

/// How long a backup is kept when `keep.age` is not given.
const KEEP: Millis = Millis(30 * DAY);

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// When something is due, again and again, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// At equal distances, beginning with the hour or the day: a part of an hour or of a day, in minutes.
    Every(u32),
    /// Every day at this minute of the day.
    Daily(u32),
    /// On one day of the week at this minute of the day.
    Weekly(Weekday, u32),
    /// On one day of the month, up to 28, at this minute of the day.
    Monthly(u32, u32),
}

impl Recurrence {
    /// Returns the longest time between two in a row.
    pub fn longest(self) -> Millis {
        Millis(match self {
            Self::Every(minutes) => u64::from(minutes) * MINUTE,
            Self::Daily(_) => DAY,
            Self::Weekly(..) => 7 * DAY,
            Self::Monthly(..) => 31 * DAY,
        })
    }

    /// Returns it as systemd's `OnCalendar=` takes it.
    ///
    /// # Source
    /// systemd.time(7), calendar events: `*:00/30:00` is every 30 minutes from the full hour on.
    pub fn on_calendar(self) -> String {
        let time = |minute: u32| format!("{:02}:{:02}:00 UTC", minute / 60, minute % 60);
        match self {
            Self::Every(minutes) if minutes < 60 => format!("*-*-* *:00/{minutes}:00 UTC"),
            Self::Every(minutes) if minutes < 1440 => format!("*-*-* 00/{}:00:00 UTC", minutes / 60),
            Self::Every(_) => format!("*-*-* {}", time(0)),
            Self::Daily(at) => format!("*-*-* {}", time(at)),
            Self::Weekly(day, at) => format!("{} *-*-* {}", &day.as_str()[..3], time(at)),
            Self::Monthly(day, at) => format!("*-*-{day:02} {}", time(at)),
        }
    }
}

impl std::fmt::Display for Recurrence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = |minute: u32| format!("at {:02}:{:02}", minute / 60, minute % 60);
        match *self {
            Self::Every(_) => write!(f, "every {}", self.longest()),
            Self::Daily(at) => write!(f, "every day {}", time(at)),
            Self::Weekly(day, at) => write!(f, "every {} {}", day.as_str(), time(at)),
            Self::Monthly(day, at) => write!(f, "every month on day {day} {}", time(at)),
        }
    }
}

/// Returns the backups of a component, by class; nothing for those that are wrong.
pub(super) fn backups(
    raw: &raw::Component,
    strategy: Option<Strategy>,
    around: (&Hosts, &[HostName]),
    findings: &mut Findings<'_>,
) -> Vec<BackupPlan> {
    let entries = raw.backups.iter().flat_map(|backups| &backups.entries);
    let mut all = Vec::new();
    for entry in entries {
        if strategy.is_some_and(Strategy::has_slots) {
            let message = "a component with slots is in two places, and cannot have backups";
            findings.error_at("bad-backup", &entry.name, message, "give them to the component that keeps the data");
            continue;
        }
        let Some(backup) = &entry.value else { continue };
        all.extend(one(&entry.name, backup, raw, around, findings));
    }
    all
}

fn one(
    name: &At<BackupClass>,
    raw: &raw::Backup,
    component: &raw::Component,
    around: (&Hosts, &[HostName]),
    findings: &mut Findings<'_>,
) -> Option<BackupPlan> {
    let from = source(name, raw, component, findings);
    let when = recurrence(name, raw.every.as_ref(), raw.at.as_ref(), raw.day.as_ref(), &raw.wrong, findings);
    let drill = match &raw.drill {
        None => Some(None),
        Some(at) => {
            let drill = &at.value;
            recurrence(at, drill.every.as_ref(), drill.at.as_ref(), drill.day.as_ref(), &drill.wrong, findings)
                .map(Some)
        }
    };
    let timeout = raw.timeout.as_ref().map_or(TIMEOUT, |at| at.value);
    if let Some(at) = raw.timeout.as_ref().filter(|at| at.value.0 < 1_000) {
        findings.error_at("bad-backup", at, "no backup is done within this time", "10m is usual");
    }
    let when = when?;
    let rpo = raw.rpo.as_ref();
    if let Some(at) = rpo.filter(|_| !raw.wrong.any(&["timeout"])) {
        let worst = Millis(when.longest().0.saturating_add(timeout.0));
        if worst > at.value {
            let message = format!(
                "a backup {when} that may take {timeout} can be {} old before the next one is there, and `rpo` is {}",
                words(worst),
                at.value
            );
            let room = at.value.0.saturating_sub(timeout.0);
            let fits = FITTING.into_iter().find(|period| *period <= room);
            let hint = fits.map_or_else(
                || "make `timeout` shorter, or say a longer `rpo`".to_owned(),
                |period| format!("`every: {}` meets it", Millis(period)),
            );
            findings.error_at("backup-rpo", at, message, hint);
            return None;
        }
    }
    let keep = raw.keep.as_ref();
    let keep_age = keep.and_then(|keep| keep.age).unwrap_or(KEEP);
    let at_least = keep.and_then(|keep| keep.at_least).map_or(3, |least| least.0);
    let offsite = match &raw.offsite {
        None => None,
        Some(at) => {
            let oldest = Millis(when.longest().0.saturating_add(timeout.0));
            let promised = rpo.map_or(Millis(oldest.0.saturating_add(when.longest().0)), |at| at.value);
            let mut offsite = offsite(at, around, findings)?;
            offsite.rpo = match &at.value.rpo {
                // The copy comes after the backup, and a round of copies after the one before it.
                None => Millis(promised.0.saturating_add(HOUR)),
                Some(at) if at.value <= oldest => {
                    let message = format!("a backup {when} that may take {timeout} is not copied within {}", at.value);
                    let hint = format!("say more than {}, or make the period shorter", words(oldest));
                    findings.error_at("backup-rpo", at, message, hint);
                    return None;
                }
                Some(at) => at.value,
            };
            offsite.keep = at.value.keep.as_ref().and_then(|keep| keep.age).unwrap_or(keep_age);
            offsite.at_least = at.value.keep.as_ref().and_then(|keep| keep.at_least).map_or(at_least, |least| least.0);
            Some(offsite)
        }
    };
    Some(BackupPlan {
        class: name.value.0.clone(),
        from: from?,
        when,
        keep: keep_age,
        at_least,
        floor: raw.floor.as_ref().map_or(1, |floor| floor.value.0.max(1)),
        rpo: rpo.map(|at| at.value),
        timeout,
        drill: drill?,
        before: raw.before.as_ref().map(|before| (before.service.clone(), before.argv.clone())),
        writers: raw.writers.as_ref().map(|writers| writers.iter().map(|writer| writer.value.clone()).collect()),
        offsite,
        origin: name.origin(),
    })
}

/// Returns where copies go; how long they are kept and how old they may get is the caller's.
fn offsite(
    at: &At<raw::Offsite>,
    (hosts, own): (&Hosts, &[HostName]),
    findings: &mut Findings<'_>,
) -> Option<OffsitePlan> {
    let host = &at.value.host;
    if !hosts.all().contains(&host.value) {
        if hosts.is_complete() {
            let hint = suggest::hint(host.value.as_str(), "hosts", hosts.all().iter().map(HostName::as_str));
            let message = format!("there is no host `{}` in the inventory", host.value);
            findings.error_at("unknown-host", host, message, hint);
        }
        return None;
    }
    if own.contains(&host.value) {
        let message =
            format!("`{}` is the host that the backup is taken on: with it, its copy is lost too", host.value);
        findings.error_at("bad-backup", host, message, "name another host of the inventory");
        return None;
    }
    let recipients = at.value.encrypt_to.as_deref().unwrap_or_default();
    if at.value.encrypt_to.is_some() && recipients.is_empty() {
        let hint = "name a recipient, age1…, or take `encrypt_to` away";
        findings.error_at("bad-backup", at, "`encrypt_to` names nobody who could read the copies", hint);
        return None;
    }
    if at.value.wrong.any(&["encrypt_to"]) {
        return None;
    }
    let encrypt_to: BTreeSet<String> = recipients.iter().map(|recipient| recipient.value.0.clone()).collect();
    Some(OffsitePlan {
        host: host.value.clone(),
        keep: KEEP,
        at_least: 1,
        rpo: Millis(0),
        encrypt_to: encrypt_to.into_iter().collect(),
    })
}

/// Periods that a hint names, the longest first.
const FITTING: [u64; 11] =
    [DAY, 12 * HOUR, 6 * HOUR, 4 * HOUR, 2 * HOUR, HOUR, 30 * MINUTE, 15 * MINUTE, 10 * MINUTE, 5 * MINUTE, MINUTE];

/// `1h10m`: a length of time in hours and minutes, for messages.
fn words(time: Millis) -> String {
    let (hours, minutes) = (time.0 / HOUR, time.0 % HOUR / MINUTE);
    match (hours, minutes) {
        (0, _) => time.to_string(),
        (_, 0) => format!("{hours}h"),
        _ => format!("{hours}h{minutes}m"),
    }
}

fn source(
    name: &At<BackupClass>,
    raw: &raw::Backup,
    component: &raw::Component,
    findings: &mut Findings<'_>,
) -> Option<BackupFrom> {
    if raw.wrong.any(&["postgres", "redis", "files", "volumes"]) {
        return None;
    }
    let given = [raw.postgres.is_some(), raw.redis.is_some(), raw.files.is_some(), raw.volumes.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let message = format!("the backup `{}` saves one thing: a database, a Redis, folders or volumes", name.value.0);
        let hint = "give it one of `postgres: { service: postgres, database: shop }`, `redis: { service: redis }`, \
                    `files: [/srv/shop/pdfs]` and `volumes: [objects]`";
        findings.error_at("bad-backup", name, message, hint);
        return None;
    }
    if let Some(pause) = raw.pause.as_ref().filter(|_| raw.volumes.is_none()) {
        let message = "`pause` is about volumes";
        findings.error_at(
            "bad-backup",
            pause,
            message,
            "take it away: a database and a Redis are saved while they run",
        );
        return None;
    }
    let in_container = raw.before.as_ref().is_some_and(|before| !before.service.is_empty());
    let is_native = raw.postgres.as_ref().is_some_and(|postgres| postgres.service.is_none());
    let is_outside = raw.files.is_some() || is_native;
    if is_native && component.compose.is_some() {
        let message = "it does not say in which compose service the database runs";
        let hint = "add `service`; the host's own PostgreSQL is backed up by a component without `compose`";
        findings.error_at("bad-backup", name, message, hint);
        return None;
    }
    if (!is_outside || in_container) && component.compose.is_none() && !component.wrong.any(&["compose"]) {
        let message = "it names a compose service or volume, and the component has no `compose`";
        findings.error_at("bad-backup", name, message, "give the backup to the component with the data");
        return None;
    }
    if let Some(volumes) = &raw.volumes {
        let names: BTreeSet<&str> = volumes.iter().map(|volume| volume.value.0.as_str()).collect();
        if volumes.is_empty() || names.len() != volumes.len() {
            let message = "`volumes` names no volume, or one twice";
            findings.error_at("bad-backup", name, message, "name each once, as in the compose file");
            return None;
        }
        let pause = raw.pause.as_ref().is_none_or(|pause| pause.value);
        return Some(BackupFrom::Volumes { volumes: names.into_iter().map(str::to_owned).collect(), pause });
    }
    if let Some(redis) = &raw.redis {
        return Some(BackupFrom::Redis {
            service: redis.service.0.clone(),
            password_file: redis.password_file.as_ref().map(|at| at.value.0.clone()),
        });
    }
    if let Some(postgres) = &raw.postgres {
        let user = postgres.user.as_ref().map_or_else(|| "postgres".to_owned(), |user| user.0.clone());
        return Some(BackupFrom::Postgres {
            service: postgres.service.as_ref().map(|service| service.0.clone()).unwrap_or_default(),
            database: postgres.database.0.clone(),
            user,
        });
    }
    let folders = raw.files.as_ref()?;
    let paths: BTreeSet<&str> = folders.iter().map(|folder| folder.value.0.as_str()).collect();
    let inside =
        |path: &str| paths.iter().find(|other| path.strip_prefix(**other).is_some_and(|rest| rest.starts_with('/')));
    for folder in folders {
        if let Some(outer) = inside(&folder.value.0) {
            let message = format!("`{}` lies in `{outer}`, which is saved already", folder.value.0);
            findings.error_at("bad-backup", folder, message, "take it away");
            return None;
        }
    }
    if folders.is_empty() || paths.len() != folders.len() {
        let message = "`files` names no folder, or one twice";
        findings.error_at("bad-backup", name, message, "name each folder once, such as [/srv/shop/pdfs]");
        return None;
    }
    Some(BackupFrom::Files { paths: paths.into_iter().map(str::to_owned).collect() })
}

/// Returns when something is due.
fn recurrence<T>(
    whole: &At<T>,
    every: Option<&At<Millis>>,
    at: Option<&At<ClockTime>>,
    day: Option<&At<Day>>,
    wrong: &super::decode::Wrong,
    findings: &mut Findings<'_>,
) -> Option<Recurrence> {
    if wrong.any(&["every", "at", "day"]) {
        return None;
    }
    match (every, at) {
        (Some(_), Some(_)) | (None, None) => {
            let message = "it is due either `every` so often or `at` a time";
            findings.error_at(
                "bad-backup",
                whole,
                message,
                "write `every: 6h`, or `at: \"03:00\"` with or without `day`",
            );
            None
        }
        (Some(every), None) => {
            if let Some(day) = day {
                findings.error_at(
                    "bad-backup",
                    day,
                    "`day` belongs to `at`",
                    "write `at: \"03:00\"` instead of `every`",
                );
                return None;
            }
            let minutes = every.value.0 / MINUTE;
            let whole_minutes = every.value.0.is_multiple_of(MINUTE) && minutes > 0;
            let part = if minutes < 60 {
                whole_minutes && 60 % minutes == 0
            } else {
                every.value.0.is_multiple_of(HOUR) && 24_u64.is_multiple_of(minutes / 60)
            };
            if !part {
                let message = format!("`{}` is no part of an hour or of a day", every.value);
                let hint = "write 1m, 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h or 1d, so that the times are the same each day";
                findings.error_at("bad-backup", every, message, hint);
                return None;
            }
            Some(Recurrence::Every(minutes as u32))
        }
        (None, Some(at)) => Some(match day.map(|day| day.value) {
            None => Recurrence::Daily(at.value.0),
            Some(Day::Week(of_week)) => Recurrence::Weekly(of_week, at.value.0),
            Some(Day::Month(of_month)) => Recurrence::Monthly(of_month, at.value.0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_61_times_as_systemd_takes_them() {
        let cases = [
            (Recurrence::Every(30), "*-*-* *:00/30:00 UTC"),
            (Recurrence::Every(60), "*-*-* 00/1:00:00 UTC"),
            (Recurrence::Every(360), "*-*-* 00/6:00:00 UTC"),
            (Recurrence::Every(1440), "*-*-* 00:00:00 UTC"),
            (Recurrence::Daily(0), "*-*-* 00:00:00 UTC"),
            (Recurrence::Weekly(Weekday::Sunday, 180), "sun *-*-* 03:00:00 UTC"),
            (Recurrence::Monthly(1, 240), "*-*-01 04:00:00 UTC"),
        ];
        for (when, expected) in cases {
            assert_eq!(when.on_calendar(), expected);
        }
        assert_eq!(Recurrence::Every(30).longest(), Millis(30 * MINUTE));
        assert_eq!(words(Millis(70 * MINUTE)), "1h10m");
    }
}
