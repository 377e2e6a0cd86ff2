//! Windows as written to windows of the model.

use super::decode;
use super::findings::Findings;
use super::limits::MAX_WINDOWS;
use super::place::At;
use super::raw::{self, ScheduleText};
use super::suggest;
use crate::id::AppName;
use crate::time::Millis;
use crate::window::{Schedule, Window, comes, never_open};

/// The longest duration: a year, with the day that some have more.
const LONGEST: Millis = Millis(366 * 86_400_000);

/// Returns the windows of an environment; `apps` are all names of its apps, also of those that are wrong.
pub(super) fn windows(written: &[At<raw::Window>], apps: &[AppName], findings: &mut Findings<'_>) -> Vec<Window> {
    if let Some(one_more) = written.get(MAX_WINDOWS) {
        let message = format!("an environment has {MAX_WINDOWS} windows at the most");
        findings.error_at(
            "too-large",
            one_more,
            message,
            "join some: lists such as `Mon,Wed` and `9,13` are one window",
        );
        return Vec::new();
    }
    let before = findings.len();
    let windows: Vec<Window> = written.iter().filter_map(|window| one(window, apps, findings)).collect();
    // What is wrong in one could be why nothing opens.
    let shut = if findings.len() > before { None } else { never_open(&windows, apps) };
    if let (Some(app), Some(first)) = (shut, written.first()) {
        let whom = app.map_or_else(|| "the environment".to_owned(), |app| format!("the app `{app}`"));
        let message = format!("these windows never open {whom}");
        let hint = "let an `allow` window reach out of every `deny`; to hold everything write `sync: { mode: manual }`, or `holdfast pause`";
        findings.error_at("never-open", first, message, hint);
    }
    windows
}

fn one(written: &At<raw::Window>, apps: &[AppName], findings: &mut Findings<'_>) -> Option<Window> {
    let before = findings.len();
    let window = &written.value;
    let named = window.apps.as_deref().unwrap_or_default();
    for name in decode::repeated(named) {
        findings.error_at("bad-value", name, format!("the app `{}` is listed twice", name.value), "");
    }
    for name in named.iter().filter(|name| !apps.contains(&name.value)) {
        let message = format!("this environment has no app `{}`", name.value);
        let hint = suggest::hint(name.value.as_str(), "its apps are", apps.iter().map(AppName::as_str));
        findings.error_at("unknown-app", name, message, hint);
    }
    if window.apps.as_ref().is_some_and(Vec::is_empty) {
        let hint = "name one, or take the key away for all of them";
        findings.error_at("bad-value", written, "`apps` of this window names no app", hint);
    }
    let schedule = match (&window.schedule.value, &window.duration) {
        (ScheduleText::Hours(hours), None) => Some(Schedule::Hours(hours.clone())),
        (ScheduleText::Hours(_), Some(duration)) => {
            let message = "`duration` is for cron: days and hours say themselves when they end";
            findings.error_at("bad-value", duration, message, "take it away");
            None
        }
        (ScheduleText::Cron(begins), Some(duration)) => match duration.value {
            Millis(0) => {
                findings.error_at(
                    "bad-value",
                    duration,
                    "a window of no duration is never active",
                    "write such as `8h`",
                );
                None
            }
            long if long > LONGEST => {
                let hint = "for a longer time write `sync: { mode: manual }`, or `holdfast pause`";
                findings.error_at("bad-value", duration, format!("`{long}` is longer than {LONGEST}"), hint);
                None
            }
            duration => Some(Schedule::Cron { begins: begins.clone(), duration }),
        },
        (ScheduleText::Cron(_), None) if window.wrong.any(&["duration"]) => None,
        (ScheduleText::Cron(_), None) => {
            let message = "cron says only when a window begins: the key `duration` is missing";
            findings.error_at(
                "missing-key",
                &window.schedule,
                message,
                "add how long it lasts, such as `duration: 8h`",
            );
            None
        }
    };
    let built = Window {
        kind: window.kind,
        schedule: schedule?,
        zone: window.time_zone.clone().unwrap_or_default(),
        apps: named.iter().map(|name| name.value.clone()).collect(),
        manual: window.manual.unwrap_or(false),
        origin: written.origin(),
    };
    if !comes(&built) {
        findings.error_at(
            "bad-value",
            &window.schedule,
            "this never comes: no year has such a day",
            "the fields of cron are minute, hour, day of the month, month, day of the week",
        );
    }
    (findings.len() == before).then_some(built)
}
