//! Windows of an environment.

use crate::config::decode::{parsed, record, words};
use crate::config::place::At;
use crate::id::AppName;
use crate::time::Millis;
use crate::window::{Cron, Hours, WindowKind, Zone};

record!(
    /// A time in which apps may change, or may not.
    Window, "a window", {
    /// `allow`: what is outside of every such window is closed; `deny`: it is closed while this lasts, whatever allows.
    kind: WindowKind,
    /// Days and hours, such as `Mon-Thu 09:00-17:00`, or the five fields of cron for when it begins, with `duration`.
    schedule: At<ScheduleText>,
    /// How long it lasts; with cron only. At the most `366d`.
    duration: Option<At<Millis>>,
    /// The time zone of its clock, by its name in the IANA database. Default: `UTC`.
    time_zone: Option<Zone>,
    /// The apps it is about. Default: all.
    apps: Option<Vec<At<AppName>>>,
    /// Whether `holdfast apply`, typed by a person, may go through while this closes an app. Default: `false`.
    manual: Option<bool>,
});

words!(WindowKind, "kind of window", { "allow" => WindowKind::Allow, "deny" => WindowKind::Deny, });

parsed!(Zone, "the name of a time zone", "^[A-Za-z][A-Za-z0-9_+/-]*$", |text| {
    text.parse().map_err(|error: crate::window::InvalidZone| error.to_string())
});

/// When a window is active, as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ScheduleText {
    /// Days and hours.
    Hours(Hours),
    /// When it begins.
    Cron(Cron),
}

parsed!(ScheduleText, "days and hours, or cron", "^.+$", |text| {
    if Cron::is_meant(text) {
        return text.parse().map(Self::Cron).map_err(|error: crate::window::InvalidCron| error.to_string());
    }
    text.parse().map(Self::Hours).map_err(|error: crate::window::InvalidHours| error.to_string())
});
