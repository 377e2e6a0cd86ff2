//! `holdfast offsite`: backups are copied to their off-site hosts, and looked at.

use std::sync::Arc;

use holdfast_core::id::{AppName, EnvironmentName, HostName};
use holdfast_core::notice::{BackupNews, CertificateNews, Told, of_backups, of_certificates};
use holdfast_core::plan::{LiveHost, backup_report, certificate_report};
use holdfast_core::time::Timestamp;
use holdfast_core::view::harmless;
use holdfast_engine::observe::observe;
use holdfast_engine::offsite::{RoundEnd, classes, round};
use holdfast_protocol::{ObserveRequest, Observed};
use serde::Serialize;

use crate::args::OffsiteArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Revision, Setup, environment};
use crate::wire::{Silent, Wire};

/// Copies, and says what.
pub(crate) async fn run(setup: &Setup, arguments: &OffsiteArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let environment = environment(&arguments.environment)?;
    let app: Option<AppName> =
        arguments.app.as_ref().map(|app| app.parse().or_hint("apps are named in their files")).transpose()?;
    let revision = setup.revision(setup.commit(Some(&environment), None).await?).await?;
    crate::setup::known(&revision.config, &environment)?;
    let wire = Wire::open(&setup.manager).await?;
    let looked = round_of(setup, &wire, &revision, &environment, app.as_ref()).await?;
    if looked.ends.is_empty() && looked.away.is_empty() {
        return Err(Error::user(
            format!("nothing in {environment} is copied to another host, or it is not on its hosts yet"),
            "declare `offsite` for a backup (docs/reference/backups.md), and apply",
        ));
    }
    let failed = looked.ends.iter().any(|end| !end.failed.is_empty()) || !looked.away.is_empty();
    let exit = if failed { Exit::Failed } else { Exit::Ok };
    if arguments.json {
        output.json(&looked.ends.iter().map(Row::of).collect::<Vec<_>>())?;
        return Ok(exit);
    }
    for end in &looked.ends {
        let class = &end.class;
        let about = format!("{}: {}: {}", class.host.name, class.app, class.spec.class);
        output.data(&match (&end.held, end.failed.as_str()) {
            (Some(held), "") => {
                format!("{about}: {} copied, {} on {}", end.copied.len(), held.count, class.offsite.name)
            }
            (_, failed) => format!("{about}: {}", harmless(failed)),
        });
    }
    for (host, reason) in &looked.away {
        output.say(&format!("{host}: {}", harmless(reason)));
    }
    Ok(exit)
}

/// What a look after the backups and certificates of an environment found.
pub(crate) struct Looked {
    ends: Vec<RoundEnd>,
    news: Vec<BackupNews>,
    certificates: Vec<CertificateNews>,
    /// Hosts that could not be asked, with why.
    away: Vec<(String, String)>,
}

impl Looked {
    /// Returns what people are to be told.
    pub(crate) fn told(&self, environment: &EnvironmentName, now: Timestamp) -> Told {
        let mut told = of_backups(environment, &self.news, now);
        let certificates = of_certificates(environment, &self.certificates, now);
        told.holds.extend(certificates.holds);
        told.over.extend(certificates.over);
        told
    }
}

/// Copies all that is to be copied, then looks how all backups stand.
pub(crate) async fn look_after(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
) -> Result<Looked, Error> {
    round_of(setup, wire, revision, environment, None).await
}

async fn round_of(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
    only: Option<&AppName>,
) -> Result<Looked, Error> {
    let desired = setup.desired(revision, environment)?;
    let ports = wire.ports(revision, Arc::new(Silent));
    let questions: Vec<_> = desired
        .hosts
        .values()
        .filter_map(|host| {
            let whole = holdfast_core::plan::observe_request(host);
            let request = ObserveRequest {
                backups: whole.backups,
                certificates: whole.certificates,
                ..ObserveRequest::default()
            };
            let any = !(request.backups.is_empty() && request.certificates.is_empty());
            any.then(|| (host.host.clone(), request))
        })
        .collect();
    // What is declared and not on its host yet is the next sync's matter.
    let before = observe(&ports, questions.clone()).await;
    let is_there = |host: &HostName, declaration: &String| match before.hosts.get(host) {
        Some(LiveHost::Reached { report, .. }) => {
            matches!(report.backups.get(declaration), Some(Observed::Seen(_)))
        }
        _ => false,
    };
    let wanted = classes(&desired)
        .into_iter()
        .filter(|class| only.is_none_or(|app| class.app == *app) && is_there(&class.host.name, &class.declaration));
    let ends = round(ports.connector.as_ref(), wanted.collect()).await;
    let after = observe(&ports, questions).await;
    let (mut news, mut certificates, mut away) = (Vec::new(), Vec::new(), Vec::new());
    for (name, live) in &after.hosts {
        let report = match live {
            LiveHost::Reached { report, .. } => report,
            LiveHost::Unreachable { reason } => {
                away.push((name.to_string(), reason.clone()));
                continue;
            }
        };
        let Some(host) = desired.hosts.get(name) else { continue };
        for (app, all) in backup_report(host, report) {
            news.extend(all.into_iter().map(|one| BackupNews {
                host: name.clone(),
                app: app.clone(),
                class: one.class,
                late: one.late,
                problem: one.problem,
            }));
        }
        for (app, all) in certificate_report(host, report) {
            // What has its first one issued at this moment is no news.
            certificates.extend(all.into_iter().filter(|one| !one.pending).map(|one| CertificateNews {
                host: name.clone(),
                app: app.clone(),
                over: one.left_ms <= 0,
                name: one.name,
                problem: one.problem,
            }));
        }
    }
    Ok(Looked { ends, news, certificates, away })
}

/// One class as JSON.
#[derive(Serialize)]
struct Row<'a> {
    host: &'a str,
    app: &'a str,
    class: &'a str,
    offsite: &'a str,
    copied: &'a [String],
    count: Option<u32>,
    newest: Option<&'a str>,
    failed: &'a str,
}

impl<'a> Row<'a> {
    fn of(end: &'a RoundEnd) -> Self {
        let (class, held) = (&end.class, end.held.as_ref());
        Self {
            host: class.host.name.as_str(),
            app: class.app.as_str(),
            class: &class.spec.class,
            offsite: class.offsite.name.as_str(),
            copied: &end.copied,
            count: held.map(|held| held.count),
            newest: held.map(|held| held.newest.as_str()),
            failed: &end.failed,
        }
    }
}
