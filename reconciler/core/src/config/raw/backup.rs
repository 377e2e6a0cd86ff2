//! Backups of a component.

use super::check::Command;
use super::leaf::{Destination, ServiceName};
use crate::config::decode::{Context, Decode, Whole, integer_of, parsed, record};
use crate::config::model::Weekday;
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};
use crate::id::{ComponentName, HostName};
use crate::time::Millis;

record!(
    /// One class of backups: one of `postgres`, `redis`, `files` or `volumes`, and one of `every` or `at`.
    Backup, "a backup", {
    /// A database, dumped by the `pg_dump` of its own container, or of the host.
    postgres: Option<Postgres>,
    /// A Redis, which saves itself.
    redis: Option<Redis>,
    /// Folders of the host, by absolute path.
    files: Option<Vec<At<Folder>>>,
    /// Volumes of the component's compose project.
    volumes: Option<Vec<At<VolumeName>>>,
    /// Whether containers that use the volumes stand still while they are packed. Default: `true`.
    pause: Option<At<bool>>,
    /// A command that runs first, in a container or on the host: one that makes a snapshot. Where it fails there is no backup.
    before: Option<Command>,
    /// The time from one to the next: a part of an hour or of a day, such as `30m` or `6h`.
    every: Option<At<Millis>>,
    /// The time of day in UTC, such as `"03:00"`.
    at: Option<At<ClockTime>>,
    /// With `at`: the day of the week, such as `sunday`, or of the month, from 1 to 28. Default: every day.
    day: Option<At<Day>>,
    /// How long they are kept.
    keep: Option<Keep>,
    /// A smaller file is no backup. Default: `1B`.
    floor: Option<At<Size>>,
    /// How old the newest may get. A period that cannot meet it is refused.
    rpo: Option<At<Millis>>,
    /// How long one may take. Default: `10m`.
    timeout: Option<At<Millis>>,
    /// When a restore is tried. Default: never.
    drill: Option<At<Drill>>,
    /// Components of the app that write to it: stopped on its host while a restored backup takes its place. Default: those whose
    /// `connections` are to this component.
    writers: Option<Vec<At<ComponentName>>>,
    /// Another host that gets a copy of each.
    offsite: Option<At<Offsite>>,
});

record!(
    /// A database.
    Postgres, "`postgres`", {
    /// The compose service it runs in. In a component without `compose` it is left out: the server is the host's own.
    service: Option<ServiceName>,
    /// The database.
    database: DatabaseName,
    /// The role that may read all of it and create databases; of the host's own server also the account that it is asked as, over its
    /// socket. Default: `postgres`.
    user: Option<DatabaseName>,
});

record!(
    /// A Redis.
    Redis, "`redis`", {
    /// The compose service it runs in.
    service: ServiceName,
    /// The file on the host with its password alone, such as `"{{ dir }}/redis_password"`: one of the component's `files`.
    password_file: Option<At<Destination>>,
});

record!(
    /// How long backups are kept.
    Keep, "`keep`", {
    /// How long one is kept. Default: `30d`.
    age: Option<Millis>,
    /// How many stay whatever their age. Default: 3.
    at_least: Option<Whole<1, 10_000>>,
});

record!(
    /// Where copies go. The manager carries them: the two hosts need not reach each other.
    Offsite, "`offsite`", {
    /// The host of the inventory that keeps them; it need not be one of the environment's.
    host: At<HostName>,
    /// How long they are kept there. Default: as `keep` of the backup.
    keep: Option<Keep>,
    /// How old the backup in the newest copy may get. Default: an hour more than the backup itself.
    rpo: Option<At<Millis>>,
    /// The age recipients that can read the copies, such as `age1…`; without one they are not encrypted.
    encrypt_to: Option<Vec<At<AgeRecipient>>>,
});

record!(
    /// When a restore is tried: one of `every` or `at`.
    Drill, "`drill`", {
    /// The time from one to the next: a part of an hour or of a day.
    every: Option<At<Millis>>,
    /// The time of day in UTC.
    at: Option<At<ClockTime>>,
    /// With `at`: the day of the week, or of the month from 1 to 28. Default: every day.
    day: Option<At<Day>>,
});

/// The name of a class of backups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BackupClass(pub(crate) String);

parsed!(BackupClass, "a name of backups", "^[a-z][a-z0-9-]{0,30}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 31 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!("`{}` is no name of backups: lower-case letters, digits and `-`, 31 at the most", shown(text)))
    }
});

/// The name of a database or role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseName(pub(crate) String);

// A restored one leaves `<name>_before_20261121t140501` behind, and PostgreSQL cuts names at 63 bytes.
parsed!(DatabaseName, "a database or role", "^[A-Za-z_][A-Za-z0-9_-]{0,39}$", |text| {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.len() <= 40 && text.starts_with(first) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!("`{}` is no database or role: letters, digits, `_` and `-`, 40 at the most", shown(text)))
    }
});

/// A volume, as a compose file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VolumeName(pub(crate) String);

parsed!(VolumeName, "a volume", "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", |text| {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!("`{}` is no volume: the name it has in the compose file", shown(text)))
    }
});

/// A folder of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Folder(pub(crate) String);

parsed!(Folder, "an absolute path", "^/[A-Za-z0-9_.@+:,=~/-]+$", |text| {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.@+:,=~-/".contains(c);
    let parts = text.strip_prefix('/').is_some_and(|below| below.split('/').all(|p| !matches!(p, "" | "." | "..")));
    if text.len() <= 400 && parts && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!("`{}` is no folder: an absolute path without `.`, `..` and a `/` at its end", shown(text)))
    }
});

/// An age recipient: the public half of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AgeRecipient(pub(crate) String);

parsed!(AgeRecipient, "an age recipient", "^age1[02-9ac-hj-np-z]{58}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() && !matches!(c, 'b' | 'i' | 'o') || matches!(c, '0' | '2'..='9');
    match text.strip_prefix("age1") {
        Some(rest) if rest.len() == 58 && rest.chars().all(fits) => Ok(Self(text.to_owned())),
        // A secret key is not shown, whoever wrote it here.
        _ if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") => {
            Err("this is the secret half of a key: take it out of git, make a new one, and write its recipient, age1…"
                .to_owned())
        }
        _ => Err(format!(
            "`{}` is no age recipient: `age-keygen -y KEYFILE` prints one, age1 and 58 characters",
            shown(text)
        )),
    }
});

/// A time of day, in minutes from midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockTime(pub(crate) u32);

parsed!(ClockTime, "a time of day such as \"03:00\"", "^([01][0-9]|2[0-3]):[0-5][0-9]$", |text| {
    let fail = || format!("`{}` is no time of day: write such as \"03:00\", in UTC", shown(text));
    let (hour, minute) = text.split_once(':').ok_or_else(fail)?;
    let number = |part: &str, most: u32| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|number| digits && *number <= most)
    };
    Ok(Self(number(hour, 23).ok_or_else(fail)? * 60 + number(minute, 59).ok_or_else(fail)?))
});

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

parsed!(Size, "a size such as 10KiB", "^[0-9]+(B|KiB|MiB|GiB)$", |text| {
    let fail = || format!("`{}` is no size: write such as 512B, 10KiB, 1MiB or 2GiB", shown(text));
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(fail()),
    };
    let number: u64 = digits.parse().map_err(|_| fail())?;
    number.checked_mul(factor).map(Self).ok_or_else(fail)
});

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}

/// A day of the week or of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    /// Of the week.
    Week(Weekday),
    /// Of the month, from 1 to 28: every month has it.
    Month(u32),
}

impl Decode for Day {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        if let Kind::Scalar { text, .. } = &node.kind
            && !text.starts_with(|c: char| c.is_ascii_digit())
        {
            let known = Weekday::ALL.into_iter().find(|day| day.as_str().eq_ignore_ascii_case(text));
            return match known {
                Some(day) => Some(Self::Week(day)),
                None => cx.bad_value(
                    node,
                    format!("`{}` is no day", shown(text)),
                    "write a day of the week, such as `sunday`, or of the month, from 1 to 28",
                ),
            };
        }
        integer_of(node, 1, 28, cx).map(Self::Month)
    }
}

impl schemars::JsonSchema for Day {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let days = Weekday::ALL.map(Weekday::as_str);
        schemars::json_schema!({ "anyOf": [
            { "type": "string", "enum": days },
            { "type": "integer", "minimum": 1, "maximum": 28 },
        ] })
    }
}
