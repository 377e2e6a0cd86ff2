//! The end of a sync as its user sees it: a few lines and an exit code.

use std::fmt::Write;

use holdfast_core::event::{AppResult, SyncResult};
use holdfast_core::id::short_seal;
use holdfast_core::report::Report;
use holdfast_core::view::{harmless, in_short, took};

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

/// Prints the report: lines on standard error, or JSON on standard output.
pub(crate) fn print(output: Output, report: &Report, json: bool) -> Result<(), Error> {
    if json {
        let line = serde_json::to_string(report).map_err(|error| Error::internal(error.to_string()))?;
        output.data(&line);
        return Ok(());
    }
    output.say(&text(report));
    Ok(())
}

/// Returns how the program ends after this report.
pub(crate) fn exit(report: &Report) -> Exit {
    let any = |wanted: &[AppResult]| {
        report.apps.values().any(|app| app.result.is_some_and(|result| wanted.contains(&result)))
    };
    match report.result {
        Some(SyncResult::Synced | SyncResult::NoChange) => Exit::Ok,
        Some(SyncResult::RolledBack) => Exit::RolledBack,
        // What was not in the way of others was done.
        Some(SyncResult::Blocked) if any(&[AppResult::Done]) => Exit::Partial,
        Some(SyncResult::Blocked) if is_closed(report) => Exit::Closed,
        Some(SyncResult::Blocked) => Exit::Refused,
        Some(SyncResult::AwaitsApproval) => Exit::AwaitsApproval,
        _ if any(&[AppResult::Partial, AppResult::Stuck]) => Exit::Partial,
        _ => Exit::Failed,
    }
}

/// Returns whether windows are all that stood in the way.
fn is_closed(report: &Report) -> bool {
    !report.closed.is_empty() && report.closed.len() == report.blockers.len()
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let total = took(report.ended_at.since_ms(report.began_at));
    let word = match report.result {
        Some(SyncResult::Synced) => "synced",
        Some(SyncResult::NoChange) => "nothing to do",
        Some(SyncResult::RolledBack) => "rolled back",
        Some(SyncResult::Blocked) if exit(report) == Exit::Partial => "blocked in part",
        Some(SyncResult::Blocked) => "blocked",
        Some(SyncResult::AwaitsApproval) => "nothing was applied",
        Some(SyncResult::Failed) | None => "failed",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{word} in {total}");
    for (name, app) in &report.apps {
        for (host, said) in &app.hosts {
            let outcome = said.outcome.map_or_else(
                || if said.took_ms == 0 { "not begun" } else { "no answer" }.to_owned(),
                |outcome| format!("{outcome:?}").to_lowercase(),
            );
            let _ = write!(text, "  {name} on {host:<10} {outcome:<11} {:>9}", took(said.took_ms));
            if !said.switch_ms.is_empty() {
                let switches: Vec<_> = said.switch_ms.iter().map(|ms| format!("{ms} ms")).collect();
                let _ = write!(text, "  switch {}", switches.join(", "));
            }
            if said.probes.run > 0 {
                let _ = write!(text, "  probes {} ({} failed)", said.probes.run, said.probes.failed);
            }
            if said.migrated {
                text.push_str("  migrated");
            }
            for migration in &said.migrations {
                let word = if migration.back { "schema taken back from" } else { "schema from" };
                let _ = write!(text, "  {word} {} to {}", harmless(&migration.from), harmless(&migration.to));
            }
            text.push('\n');
            if !said.failed.is_empty() {
                let _ = writeln!(text, "    {}", harmless(&said.failed));
            }
            if said.held {
                let _ = writeln!(text, "    held: {}", harmless(&said.reason));
            }
        }
        if !app.quarantined.is_empty() {
            let _ = writeln!(text, "  {name} is quarantined: {}", in_short(&harmless(&app.quarantined)));
        }
    }
    if let (Some(awaits), Some(environment)) = (&report.awaits, &report.environment) {
        let seal = short_seal(&report.seal);
        let (count, required, names) = (awaits.given.len(), awaits.required, awaits.approvers.join(", "));
        let _ = writeln!(text, "  plan {seal} waits for approval, {count} of {required} given, by one of {names}");
        let _ = writeln!(
            text,
            "  look at it: `holdfast plan {environment}`; approve it: `holdfast approve {environment} {seal}`"
        );
    }
    for blocker in &report.blockers {
        let _ = writeln!(text, "  blocked: {}", harmless(blocker));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use holdfast_core::report::AppReport;

    use super::*;

    #[test]
    fn each_end_has_its_code() {
        for (result, app, wanted) in [
            (Some(SyncResult::Synced), Some(AppResult::Done), Exit::Ok),
            (Some(SyncResult::NoChange), None, Exit::Ok),
            (Some(SyncResult::RolledBack), Some(AppResult::RolledBack), Exit::RolledBack),
            (Some(SyncResult::Blocked), Some(AppResult::Blocked), Exit::Refused),
            (Some(SyncResult::Failed), Some(AppResult::Partial), Exit::Partial),
            (Some(SyncResult::Failed), Some(AppResult::Stuck), Exit::Partial),
            (Some(SyncResult::Failed), None, Exit::Failed),
            (None, None, Exit::Failed),
            (Some(SyncResult::AwaitsApproval), None, Exit::AwaitsApproval),
        ] {
            let mut shop = AppReport::default();
            shop.result = app;
            let report = Report { result, apps: [("shop".parse().unwrap(), shop)].into(), ..Report::new() };
            assert_eq!(exit(&report), wanted, "{result:?}");
        }
    }

    #[test]
    fn only_a_window_makes_it_closed_and_no_name_or_word_does() {
        let app: holdfast_core::id::AppName = "closed".parse().unwrap();
        let blocked = |closed: &[&holdfast_core::id::AppName], blockers: &[&str]| {
            let closed = closed.iter().map(|app| (*app).clone()).collect();
            let blockers = blockers.iter().map(|text| (*text).to_owned()).collect();
            exit(&Report { result: Some(SyncResult::Blocked), closed, blockers, ..Report::new() })
        };
        assert_eq!(blocked(&[&app], &["closed: closed is closed until Monday"]), Exit::Closed);
        assert_eq!(blocked(&[], &["closed: a host of this name cannot be reached"]), Exit::Refused);
        assert_eq!(blocked(&[&app], &["unreachable: closed", "closed: closed is closed"]), Exit::Refused);
        assert_eq!(blocked(&[], &[]), Exit::Refused);
    }
}
