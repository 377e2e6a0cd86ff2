use jiff::civil::DateTime;
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// A moment by what a clock shows: `2026-03-29 01:00 Europe/Berlin`; `UTC` makes it clear where a clock shows it twice.
fn at(text: &str) -> Timestamp {
    let (shown, name) = text.rsplit_once(' ').unwrap();
    let shown: DateTime = shown.replace(' ', "T").parse().unwrap();
    let moment = zone(name).clock().to_timestamp(shown).unwrap();
    Timestamp(moment.as_millisecond() as u64)
}

fn window(kind: WindowKind, schedule: &str, duration: &str, name: &str) -> Window {
    let schedule = if duration.is_empty() {
        Schedule::Hours(schedule.parse().unwrap())
    } else {
        Schedule::Cron { begins: schedule.parse().unwrap(), duration: duration.parse().unwrap() }
    };
    let origin = Origin { file: "environments/prod/environment.yaml".to_owned(), line: 4, column: 5 };
    Window { kind, schedule, zone: zone(name), apps: Vec::new(), manual: false, origin }
}

fn allow(schedule: &str, duration: &str, name: &str) -> Window {
    window(WindowKind::Allow, schedule, duration, name)
}

fn deny(schedule: &str, duration: &str, name: &str) -> Window {
    window(WindowKind::Deny, schedule, duration, name)
}

/// When the windows open, seen from a moment; the moment itself when they are open.
#[track_caller]
fn opens_at(windows: &[Window], now: &str) -> String {
    match closed(windows, None, at(now)) {
        None => "open".to_owned(),
        Some(closed) => closed.to_string().split(", by").next().unwrap().replace("closed until ", ""),
    }
}

#[test]
fn office_hours_open_and_close() {
    let office = [allow("Mon-Thu 09:00-17:00", "", "Europe/Berlin")];
    for (now, wanted) in [
        ("2026-11-23 08:59 Europe/Berlin", "Mon 2026-11-23 09:00 Europe/Berlin"),
        ("2026-11-23 09:00 Europe/Berlin", "open"),
        ("2026-11-23 16:59 Europe/Berlin", "open"),
        ("2026-11-23 17:00 Europe/Berlin", "Tue 2026-11-24 09:00 Europe/Berlin"),
        ("2026-11-26 20:00 Europe/Berlin", "Mon 2026-11-30 09:00 Europe/Berlin"),
    ] {
        assert_eq!(opens_at(&office, now), wanted, "{now}");
    }
}

#[test]
fn deny_wins_and_outside_of_every_allow_is_closed() {
    let both =
        [allow("Mon-Fri 09:00-17:00", "", "UTC"), deny("Fri 12:00-24:00", "", "UTC"), deny("0 8 * * mon", "2h", "UTC")];
    for (now, wanted) in [
        ("2026-11-20 11:59 UTC", "open"),
        // The freeze of Friday ends at midnight, the weekend is outside, and on Monday the other one lasts until ten.
        ("2026-11-20 12:00 UTC", "Mon 2026-11-23 10:00 UTC"),
        ("2026-11-23 09:30 UTC", "Mon 2026-11-23 10:00 UTC"),
        ("2026-11-23 10:00 UTC", "open"),
    ] {
        assert_eq!(opens_at(&both, now), wanted, "{now}");
    }
    assert_eq!(opens_at(&[], "2026-11-20 12:00 UTC"), "open");
    assert_eq!(opens_at(&both[1..], "2026-11-21 12:00 UTC"), "open", "without an allow window all else is open");
}

#[test]
fn a_night_ends_on_the_next_day_and_a_long_freeze_over_the_year() {
    let night = [deny("Fri 22:00-06:00", "", "Europe/Berlin")];
    assert_eq!(opens_at(&night, "2026-11-21 05:59 Europe/Berlin"), "Sat 2026-11-21 06:00 Europe/Berlin");
    assert_eq!(opens_at(&night, "2026-11-22 05:59 Europe/Berlin"), "open");
    let christmas = [deny("0 0 20 12 *", "14d", "Europe/Berlin")];
    assert_eq!(opens_at(&christmas, "2027-01-02 23:59 Europe/Berlin"), "Sun 2027-01-03 00:00 Europe/Berlin");
    assert_eq!(opens_at(&christmas, "2027-01-03 00:00 Europe/Berlin"), "open");
}

#[test]
fn clocks_that_leap_and_clocks_that_are_put_back() {
    // 2026-03-29: from 02:00 to 03:00. 2026-10-25: from 03:00 to 02:00.
    let berlin = |schedule: &str, duration: &str| [deny(schedule, duration, "Europe/Berlin")];
    // What would begin at 02:30 begins at the leap, 01:00 UTC.
    assert_eq!(opens_at(&berlin("Sun 02:30-04:00", ""), "2026-03-29 01:00 UTC"), "Sun 2026-03-29 04:00 Europe/Berlin");
    assert_eq!(opens_at(&berlin("Sun 02:30-04:00", ""), "2026-03-29 00:59 UTC"), "open");
    assert_eq!(opens_at(&berlin("30 2 * * *", "1h"), "2026-03-29 01:59 UTC"), "Sun 2026-03-29 04:00 Europe/Berlin");
    // A window that lies within the leap does not come on that day.
    assert_eq!(opens_at(&berlin("Sun 02:10-02:50", ""), "2026-03-29 01:00 UTC"), "open");
    // Shown twice: from the first 02:00 (00:00 UTC) to the second 02:30 (01:30 UTC).
    let twice = berlin("Sun 02:00-02:30", "");
    assert_eq!(opens_at(&twice, "2026-10-24 23:59 UTC"), "open");
    assert_eq!(opens_at(&twice, "2026-10-25 00:45 UTC"), "Sun 2026-10-25 02:30 Europe/Berlin");
    assert_eq!(opens_at(&twice, "2026-10-25 01:30 UTC"), "open");
    // Cron begins both times, and each time lasts its duration.
    let both = berlin("0 2 * * *", "30m");
    for (minute, is_open) in [("00:15", false), ("00:45", true), ("01:15", false), ("01:45", true)] {
        assert_eq!(closed(&both, None, at(&format!("2026-10-25 {minute} UTC"))).is_none(), is_open, "{minute}");
    }
    // 24 hours of a duration are 24 hours, whatever the clock shows.
    let day = berlin("0 12 24 10 *", "24h");
    assert_eq!(opens_at(&day, "2026-10-24 20:00 UTC"), "Sun 2026-10-25 11:00 Europe/Berlin");
}

#[test]
fn each_app_has_its_own() {
    let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
    let mut freeze = deny("Sat", "", "UTC");
    freeze.apps = vec![shop.clone()];
    let all = closed_apps(&[freeze], [&shop, &blog], at("2026-11-21 12:00 UTC"));
    assert_eq!(all.keys().collect::<Vec<_>>(), [&shop]);
    let text = "closed until Sun 2026-11-22 00:00 UTC, by environments/prod/environment.yaml:4";
    assert_eq!(all[&shop].to_string(), text);
}

#[test]
fn a_person_may_go_through_where_all_that_closes_says_so() {
    let manual = |mut window: Window, line: u32| {
        window.manual = true;
        window.origin.line = line;
        window
    };
    let now = at("2026-11-21 12:00 UTC");
    let said = |windows: &[Window]| closed(windows, None, now).map(|closed| (closed.by.line, closed.manual));
    assert_eq!(said(&[manual(deny("Sat", "", "UTC"), 1)]), Some((1, true)));
    assert_eq!(said(&[manual(deny("Sat", "", "UTC"), 1), deny("Sat-Sun", "", "UTC")]), Some((4, false)));
    assert_eq!(said(&[manual(allow("Mon", "", "UTC"), 1), manual(allow("Sun", "", "UTC"), 2)]), Some((2, true)));
    assert_eq!(said(&[manual(allow("Mon", "", "UTC"), 1), allow("Sun", "", "UTC")]), Some((4, false)));
    // An inactive deny window has no say.
    assert_eq!(said(&[manual(allow("Mon", "", "UTC"), 1), deny("Tue", "", "UTC")]), Some((1, true)));
}

#[test]
fn what_never_opens_is_known() {
    assert!(!opens(&[deny("daily", "", "UTC")], None));
    assert!(!opens(&[deny("* * * * *", "1m", "UTC")], None));
    assert!(!opens(&[allow("Mon 09:00-17:00", "", "UTC"), deny("Mon", "", "UTC")], None));
    assert!(opens(&[allow("Mon 09:00-17:00", "", "UTC"), deny("Mon 10:00-24:00", "", "UTC")], None));
    assert!(opens(&[deny("* * * * *", "59s", "UTC")], None));
    assert!(!comes(&allow("0 0 30 2 *", "1h", "UTC")));
    assert!(comes(&allow("0 0 29 2 *", "1h", "UTC")));
}

#[test]
fn what_is_no_schedule_is_said_with_what_is() {
    let hours = |text: &str| text.parse::<Hours>().unwrap_err().to_string();
    let cron = |text: &str| text.parse::<Cron>().unwrap_err().to_string();
    let zone = |text: &str| text.parse::<Zone>().unwrap_err().to_string();
    let said = [
        hours("Mon-Thi 09:00-17:00"),
        hours("Mon 9-17"),
        hours("Mon 09:00-25:00"),
        hours("Mon 09:00-09:00"),
        hours("Mon at 09:00-17:00"),
        cron("0 22 * *"),
        cron("61 22 * * *"),
        cron("0 22 * * fri-mon"),
        cron("*/0 22 * * *"),
        cron("@nightly"),
        zone("Berlin"),
        zone("CEST"),
        zone("Europe/Berlinn"),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

/// What cron does, minute by minute: the plainest way to say it.
struct Slow<'w> {
    cron: &'w Cron,
    clock: jiff::tz::TimeZone,
    minutes: u64,
}

impl Slow<'_> {
    fn begins(&self, minute: u64) -> bool {
        let shown = |minute: u64| self.clock.to_datetime(super::zone::moment(Timestamp(minute * 60_000)));
        let (before, now) = (shown(minute - 1), shown(minute));
        let fits = |shown: DateTime| {
            let bits = (self.cron.hours >> shown.hour()) & (self.cron.minutes >> shown.minute()) & 1;
            bits == 1 && self.cron.is_on(shown.date())
        };
        let mut skipped = before + jiff::Span::new().minutes(1);
        while skipped < now {
            if fits(skipped) {
                return true;
            }
            skipped += jiff::Span::new().minutes(1);
        }
        fits(now)
    }

    fn is_active(&self, minute: u64) -> bool {
        (minute + 1 - self.minutes..=minute).any(|minute| self.begins(minute))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Around the leaps of zones that differ in all ways: hours and half hours, by day and at midnight, none.
    #[test]
    fn cron_windows_are_what_counting_minutes_says(
        (name, day) in prop::sample::select(vec![
            ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("America/New_York", "2026-03-08"),
            ("America/New_York", "2026-11-01"), ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),
            ("America/Sao_Paulo", "2018-11-04"), ("Asia/Kolkata", "2026-05-05"), ("UTC", "2026-12-31"),
        ]),
        schedule in prop::sample::select(vec![
            "0 * * * *", "30 2 * * *", "*/20 1-3 * * *", "15 0,2,23 * * sun", "0 0 * * *", "45 23 * * *", "10 2 1-8 * 6",
        ]),
        minutes in 1_u64..200,
        hour in 0_u64..30,
        minute in 0_u64..60,
    ) {
        let window = deny(schedule, &format!("{minutes}m"), name);
        let Schedule::Cron { begins, .. } = &window.schedule else { unreachable!() };
        let slow = Slow { cron: begins, clock: window.zone.clock(), minutes };
        let now = at(&format!("{day} 00:00 UTC")).0 / 60_000 + hour * 60 + minute - 180;
        let said = closed(std::slice::from_ref(&window), None, Timestamp(now * 60_000));
        prop_assert_eq!(said.is_some(), slow.is_active(now), "{:?}", said);
        if let Some(until) = said.and_then(|closed| closed.until) {
            let until = until.0 / 60_000;
            prop_assert!(until > now && !slow.is_active(until));
            prop_assert!((now..until).step_by(7).all(|minute| slow.is_active(minute)));
        }
    }

    /// The moment named is the first one that is open: nothing opens before it, and it does not ask for a look too early.
    #[test]
    fn it_opens_when_it_says_and_not_before(
        from in 0_u16..24, to in 1_u16..25, days in "(Mon|Tue-Thu|Fri-Mon|daily|Sat,Sun)", other in 0_u16..24, now in 0_u64..400_000,
    ) {
        prop_assume!(from != to && !(from == 0 && to == 24 && days == "daily"));
        let windows = [
            allow(&format!("{days} {from:02}:00-{to:02}:00"), "", "Europe/Berlin"),
            deny(&format!("0 {other} * * *"), "90m", "America/New_York"),
        ];
        let now = Timestamp(SOME_TIME.0 + now * 60_000);
        if let Some(Closed { until: Some(until), .. }) = closed(&windows, None, now) {
            prop_assert!(until > now);
            prop_assert!(closed(&windows, None, until).is_none());
            let before = Timestamp(until.0 - 1);
            prop_assert_eq!(closed(&windows, None, before).and_then(|closed| closed.until), Some(until));
            let half = Timestamp(now.0.midpoint(until.0 - 1));
            prop_assert_eq!(closed(&windows, None, half).and_then(|closed| closed.until), Some(until));
        }
    }

    #[test]
    fn no_text_makes_a_parser_fall(text in "[@*/,0-9A-Za-z: -]{0,40}") {
        let _ = text.parse::<Cron>();
        let _ = text.parse::<Hours>();
        let _ = text.parse::<Zone>();
    }
}
