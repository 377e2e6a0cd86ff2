//! How the certificates of an app stand: who issued them, for whom, until when.

use std::collections::BTreeMap;

use holdfast_protocol::{CertificateIssuer, CertificateLive, CertificateSpec, LiveReport, Observed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backups::span;
use super::component::Subject;
use super::place::{Comparison, Problem};
use super::rule::{Finding, Weight};
use super::{PlanAction, Reason, ResourceKey};
use crate::desired::{DesiredApp, DesiredHost};
use crate::id::AppName;

/// Rule: nginx is told to serve a certificate that is not there.
const MISSING: &str = "certificate-missing";

/// One certificate on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateStatus {
    /// Its name.
    pub name: String,
    /// Who issued it, as `openssl` says it; empty when there is none.
    pub issuer: String,
    /// The names it is for.
    pub domains: Vec<String>,
    /// When it ends, in milliseconds since the Unix epoch; 0 when there is none.
    pub not_after_ms: u64,
    /// How long that was from the moment it was looked at, in milliseconds; negative when it is over.
    pub left_ms: i64,
    /// Whether the HSTS header is sent: HTTPS was proven.
    pub hsts: bool,
    /// Whether the first one is still to be issued.
    pub pending: bool,
    /// What is wrong; empty when nothing is.
    pub problem: String,
}

/// Returns how the certificates of an app stand. What is declared and not yet on the host is the plan's matter.
pub(super) fn certificates(app: &DesiredApp, report: &LiveReport) -> Vec<CertificateStatus> {
    let declared = app.components.iter().flat_map(|component| &component.certificates);
    declared
        .filter_map(|(path, spec)| match report.certificates.get(path)? {
            Observed::Seen(live) => Some(judge(spec, live)),
            Observed::Unknown(why) => {
                Some(CertificateStatus { problem: why.clone(), ..judge(spec, &CertificateLive::default()) })
            }
            Observed::Absent => None,
        })
        .collect()
}

/// Returns how the certificates of a host stand, by app.
pub fn certificate_report(host: &DesiredHost, report: &LiveReport) -> BTreeMap<AppName, Vec<CertificateStatus>> {
    host.apps.iter().map(|(name, app)| (name.clone(), certificates(app, report))).collect()
}

fn judge(spec: &CertificateSpec, live: &CertificateLive) -> CertificateStatus {
    let mut problems = Vec::new();
    let temporary = live.chain.as_ref().is_some_and(|chain| chain.temporary);
    let acme = matches!(spec.issuer, CertificateIssuer::Acme { .. });
    // As long as nothing failed the first one is only under way.
    let pending = acme && temporary && live.failed.is_none();
    match &live.chain {
        None => problems.push("there is none".to_owned()),
        Some(chain) if chain.left_ms <= 0 => {
            problems.push(format!("it ended {} ago", span(chain.left_ms.unsigned_abs())));
        }
        Some(_) if temporary && acme => {
            if !pending {
                problems.push("it is a temporary one that nobody trusts".to_owned());
            }
        }
        Some(chain) => {
            // Half of the time in which it should be renewed is over: somebody has to look.
            if chain.left_ms.unsigned_abs() < spec.due_before_ms(chain.lifetime_ms) / 2 {
                problems.push(format!("it ends in {} and was not renewed", span(chain.left_ms.unsigned_abs())));
            }
            if !same_names(&spec.domains, &chain.domains) {
                problems.push(format!("it is for {}", chain.domains.join(", ")));
            }
        }
    }
    if let Some(failed) = &live.failed {
        problems.push(format!("the last try failed {} ago: {}", span(failed.age_ms), failed.text));
    }
    let chain = live.chain.clone();
    CertificateStatus {
        name: spec.name.clone(),
        issuer: chain.as_ref().map_or_else(String::new, |chain| chain.issuer.clone()),
        not_after_ms: chain.as_ref().map_or(0, |chain| chain.not_after_ms),
        left_ms: chain.as_ref().map_or(0, |chain| chain.left_ms),
        domains: chain.map_or_else(Vec::new, |chain| chain.domains),
        hsts: live.hsts,
        pending,
        problem: problems.join("; "),
    }
}

fn same_names(wanted: &[String], found: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    sorted(wanted) == sorted(found)
}

/// Adds a change of the timer of a certificate that is gone: started anew, it has another one made.
pub(super) fn missing(subject: Subject<'_>, comparison: &mut Comparison) {
    // What was never there comes with everything else.
    if subject.record.is_none() {
        return;
    }
    for path in subject.component.certificates.keys() {
        match subject.context.report.certificates.get(path) {
            Some(Observed::Seen(live)) if live.chain.is_none() => {}
            Some(Observed::Unknown(why)) => {
                comparison.problems.push(("unknown", format!("a certificate could not be looked at: {why}")));
                continue;
            }
            _ => continue,
        }
        for unit in subject.component.body.artifacts(None).units.keys() {
            let key = ResourceKey::Unit(unit.clone());
            if comparison.found.iter().all(|found| found.key != key) {
                let note = "nginx is told to serve a certificate that is not there".to_owned();
                let finding =
                    Finding { action: PlanAction::Update, reason: Reason::Drifted, weight: Weight::InPlace, note };
                comparison.found.push(subject.found(key, MISSING, finding));
            }
        }
    }
}

/// Returns what the certificates of an app need and the host lacks.
pub(super) fn needs(app: &DesiredApp, report: &LiveReport) -> Vec<Problem> {
    let declared = app.components.iter().flat_map(|component| &component.certificates);
    let live = declared.filter_map(|(path, spec)| Some((spec, report.certificates.get(path)?.seen()?)));
    live.flat_map(|(spec, live)| {
        live.missing.iter().map(|program| {
            let message = format!(
                "{program} is not installed, and the certificate `{}` needs it: `apt-get install {program}`",
                spec.name
            );
            ("missing-tool", message)
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{BackupSaid, ChainLive};

    use super::*;

    const DAY: u64 = 86_400_000;

    fn spec() -> CertificateSpec {
        CertificateSpec {
            environment: "prod".to_owned(),
            name: "shop".to_owned(),
            domains: vec!["www.example.com".to_owned(), "example.com".to_owned()],
            issuer: CertificateIssuer::Acme {
                directory: "https://acme.example".to_owned(),
                email: "a@example.com".to_owned(),
                trust: String::new(),
            },
            renew_before_ms: 30 * DAY,
            hsts: String::new(),
            port: 443,
        }
    }

    fn live(days: i64) -> CertificateLive {
        let chain = ChainLive {
            issuer: "CN=R10".to_owned(),
            domains: vec!["example.com".to_owned(), "www.example.com".to_owned()],
            not_after_ms: 1,
            left_ms: days * DAY.cast_signed(),
            lifetime_ms: 90 * DAY,
            temporary: false,
        };
        CertificateLive { chain: Some(chain), ..CertificateLive::default() }
    }

    fn problem(live: &CertificateLive) -> String {
        judge(&spec(), live).problem
    }

    #[test]
    fn cap_45_somebody_is_told_while_there_is_time() {
        assert_eq!(problem(&live(60)), "");
        assert_eq!(problem(&live(29)), "", "it is being renewed");
        assert_eq!(problem(&live(15)), "");
        assert_eq!(problem(&live(14)), "it ends in 14d and was not renewed");
        assert_eq!(problem(&live(-3)), "it ended 3d ago");
        let failed = Some(BackupSaid { age_ms: 240_000, text: "certbot: no".to_owned() });
        assert_eq!(problem(&CertificateLive { failed, ..live(29) }), "the last try failed 4m ago: certbot: no");
    }

    #[test]
    fn cap_44_a_temporary_one_is_under_way_until_issuing_fails() {
        let mut first = live(89);
        first.chain.as_mut().unwrap().temporary = true;
        first.chain.as_mut().unwrap().domains.pop();
        let status = judge(&spec(), &first);
        assert!(status.pending && status.problem.is_empty(), "{status:?}");
        first.failed = Some(BackupSaid { age_ms: 1000, text: "no".to_owned() });
        let status = judge(&spec(), &first);
        assert!(!status.pending && status.problem.starts_with("it is a temporary one"), "{status:?}");
        let own = CertificateSpec { issuer: CertificateIssuer::SelfSigned {}, ..spec() };
        first.failed = None;
        first.chain.as_mut().unwrap().temporary = false;
        assert_eq!(judge(&own, &first).problem, "it is for example.com");
        assert_eq!(judge(&own, &CertificateLive::default()).problem, "there is none");
    }
}
