//! Certificates as written to certificates of the model: one issuer with what it needs, and no HSTS that cannot be meant.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::model::Purpose;
use super::place::At;
use super::raw;
use crate::diag::Origin;
use crate::time::Millis;

const DAY: u64 = 86_400_000;

/// Where Let's Encrypt's directory is.
///
/// # Source
/// <https://letsencrypt.org/docs/acme-protocol-updates/>
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The least `max-age` with which browsers build a name in, in seconds.
///
/// # Source
/// <https://hstspreload.org>, submission requirements.
const PRELOAD_SECONDS: u64 = 31_536_000;

/// Names of one certificate that authorities take at the most.
///
/// # Source
/// <https://letsencrypt.org/docs/rate-limits/>, "Names per Certificate".
const MOST_NAMES: usize = 100;

/// Who issues a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateAuthority {
    /// An ACME server.
    Acme,
    /// The host itself.
    SelfSigned,
}

/// One certificate of an environment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Certificate {
    /// Its name.
    pub name: String,
    /// The names it is for, the main one first.
    pub domains: Vec<String>,
    /// Who issues it.
    pub authority: CertificateAuthority,
    /// Whom the ACME server writes to; empty without one.
    pub email: String,
    /// The ACME server's directory; empty without one.
    pub directory: String,
    /// A file of the host with authorities to trust besides the system's; empty for none.
    pub trust: String,
    /// How long before its end it is renewed.
    pub renew_before: Millis,
    /// The port on which nginx serves it.
    pub port: u16,
    /// The value of the HSTS header; empty without one.
    pub hsts: String,
    /// Where it is declared.
    pub origin: Origin,
}

/// Returns the certificates of an environment by name; `None` for those that are wrong, so that who refers to one is not blamed.
pub(super) fn certificates(
    environment: Option<&raw::Environment>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Option<Certificate>> {
    let purpose = environment.and_then(|content| content.purpose).unwrap_or_default();
    let entries = environment.iter().flat_map(|content| &content.certificates).flat_map(|named| &named.entries);
    entries
        .map(|entry| {
            let made = entry.value.as_ref().and_then(|raw| one(&entry.name, raw, purpose, findings));
            (entry.name.value.0.clone(), made)
        })
        .collect()
}

fn one(
    name: &At<raw::CertificateName>,
    raw: &raw::Certificate,
    purpose: Purpose,
    findings: &mut Findings<'_>,
) -> Option<Certificate> {
    let authority = raw.issuer.as_ref().map_or(CertificateAuthority::Acme, |issuer| issuer.value);
    let mut right = !raw.wrong.any(&["issuer", "email", "directory", "trust", "renew_before", "port", "hsts"]);
    let mut wrong = |findings: &mut Findings<'_>, at: &At<()>, code: &str, message: &str, hint: &str| {
        findings.error_at(code, at, message, hint);
        right = false;
    };
    let here = blank(name);
    let at_issuer = raw.issuer.as_ref().map_or_else(|| here.clone(), blank);
    if authority == CertificateAuthority::SelfSigned {
        if purpose == Purpose::Production {
            let message = "a self-signed certificate is refused in production: every browser would warn of it";
            let hint = "write `issuer: acme` with an `email`, or say `purpose: development`";
            wrong(findings, &at_issuer, "self-signed-certificate", message, hint);
        }
        let of_acme = [
            ("email", raw.email.as_ref().map(blank)),
            ("directory", raw.directory.as_ref().map(blank)),
            ("trust", raw.trust.as_ref().map(blank)),
        ];
        for (key, at) in of_acme {
            if let Some(at) = at {
                let message = format!("`{key}` belongs to `issuer: acme`");
                wrong(findings, &at, "bad-certificate", &message, "take it away");
            }
        }
        if let Some(at) = &raw.hsts {
            let message = "a self-signed certificate can never be proven, and so HSTS would never be sent";
            wrong(findings, &blank(at), "bad-certificate", message, "take `hsts` away");
        }
    } else if raw.email.is_none() && !raw.wrong.any(&["email", "issuer"]) {
        let message = "an authority wants an e-mail address to write to";
        wrong(findings, &here, "bad-certificate", message, "give it `email: ops@example.com`");
    }
    let renew_before = raw.renew_before.as_ref().map_or(Millis(30 * DAY), |at| at.value);
    if let Some(at) = raw.renew_before.as_ref().filter(|at| !(DAY..=60 * DAY).contains(&at.value.0)) {
        let message = "it is renewed between 1d and 60d before its end";
        wrong(findings, &blank(at), "bad-certificate", message, "write such as `renew_before: 30d`");
    }
    let hsts = match raw.hsts.as_ref().map(|hsts| header(&hsts.value)) {
        None => String::new(),
        Some(Ok(header)) => header,
        Some(Err(problem)) => {
            if let Some(at) = &raw.hsts {
                let at = at.value.preload.as_ref().map_or_else(|| blank(at), blank);
                let hint = "write `{ max_age: 365d, include_subdomains: true, preload: true }`, or leave `preload` out";
                wrong(findings, &at, "bad-certificate", problem, hint);
            }
            String::new()
        }
    };
    let domains = domains(name, raw, authority, findings);
    let value = |given: Option<String>| given.filter(|_| authority == CertificateAuthority::Acme).unwrap_or_default();
    (right && domains.is_some()).then(|| Certificate {
        name: name.value.0.clone(),
        domains: domains.unwrap_or_default(),
        authority,
        email: value(raw.email.as_ref().map(|at| at.value.0.clone())),
        directory: value(Some(raw.directory.as_ref().map_or_else(|| DIRECTORY.to_owned(), |at| at.value.0.clone()))),
        trust: value(raw.trust.as_ref().map(|at| at.value.0.clone())),
        renew_before,
        port: raw.port.as_ref().map_or(443, |port| port.number()),
        hsts,
        origin: name.origin(),
    })
}

/// Returns a place without its value.
fn blank<T>(at: &At<T>) -> At<()> {
    At { value: (), file: at.file.clone(), place: at.place }
}

fn domains(
    name: &At<raw::CertificateName>,
    raw: &raw::Certificate,
    authority: CertificateAuthority,
    findings: &mut Findings<'_>,
) -> Option<Vec<String>> {
    let domains = raw.domains.0.as_ref()?;
    let mut seen = BTreeSet::new();
    let mut right = true;
    for domain in domains {
        if domain.value.0.starts_with("*.") && authority == CertificateAuthority::Acme {
            let message =
                format!("`{}` cannot be proven over HTTP, which is how certificates are issued", domain.value.0);
            findings.error_at("bad-certificate", domain, message, "name each name of its own, such as www.example.com");
            right = false;
        }
        if !seen.insert(&domain.value.0) {
            let message = format!("`{}` is named twice", domain.value.0);
            findings.error_at("bad-certificate", domain, message, "take it away");
            right = false;
        }
    }
    if domains.is_empty() || domains.len() > MOST_NAMES {
        let message = format!("a certificate is for 1 to {MOST_NAMES} names");
        findings.error_at("bad-certificate", name, message, "write such as `domains: [example.com, www.example.com]`");
        right = false;
    }
    right.then(|| domains.iter().map(|domain| domain.value.0.clone()).collect())
}

/// Returns the header's value.
///
/// # Source
/// RFC 6797, section 6.1.
fn header(hsts: &raw::Hsts) -> Result<String, &'static str> {
    let seconds = hsts.max_age.as_ref().map_or(PRELOAD_SECONDS, |age| age.value.0 / 1000);
    let below = hsts.include_subdomains.unwrap_or(false);
    let preload = hsts.preload.as_ref().is_some_and(|preload| preload.value);
    if preload && !(below && seconds >= PRELOAD_SECONDS) {
        return Err("browsers build a name in only with `include_subdomains` and a `max_age` of at least 365d");
    }
    let mut text = format!("max-age={seconds}");
    if below {
        text.push_str("; includeSubDomains");
    }
    if preload {
        text.push_str("; preload");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceTree, load};

    fn findings(environment: &str) -> Vec<String> {
        let inventory = "hosts:\n  web1: { address: local }\n  web2: { address: 192.0.2.1, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0WcbFoFpb7NqnlkNnmPUDYkz2cXRQXZHGLlHbhJm4S }\n";
        let app = "app: shop\nrelease: v1\ncomponents:\n  edge: { nginx: nginx/a.j2, certificate: shop }\n";
        let files = [
            ("holdfast.yaml", "format: 1\n"),
            ("inventory/hosts.yaml", inventory),
            ("environments/prod/environment.yaml", environment),
            ("environments/prod/shop.yaml", app),
            ("templates/nginx/a.j2", "server {}"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
        let (_, findings) = load(&SourceTree { files, problems: Vec::new() });
        findings.0.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
    }

    fn certificate(rest: &str) -> Vec<String> {
        findings(&format!("hosts: [web1]\ncertificates:\n  shop:\n    domains: [a.example.com]\n{rest}"))
    }

    #[test]
    fn cap_46_production_refuses_what_development_makes_for_itself() {
        assert!(certificate("    issuer: self_signed\n")[0].starts_with("self-signed-certificate"));
        assert_eq!(certificate("    issuer: self_signed\npurpose: development\n"), Vec::<String>::new());
        assert_eq!(certificate("    issuer: self_signed\npurpose: staging\n"), Vec::<String>::new());
        let both =
            certificate("    issuer: self_signed\n    email: a@example.com\n    hsts: {}\npurpose: development\n");
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn cap_44_what_cannot_be_issued_is_refused_before_anybody_is_asked() {
        let ok = "    email: a@example.com\n";
        assert_eq!(certificate(ok), Vec::<String>::new());
        assert!(certificate("")[0].contains("e-mail address"));
        let text = |domains: &str| {
            findings(&format!(
                "hosts: [web1]\ncertificates:\n  shop:\n    domains: {domains}\n    email: a@example.com\n"
            ))
        };
        assert!(text("[\"*.example.com\"]")[0].contains("cannot be proven over HTTP"));
        assert!(text("[a.example.com, a.example.com]")[0].contains("named twice"));
        assert!(text("[]")[0].contains("1 to 100 names"));
        assert!(text("[Example.com]")[0].contains("no domain name"));
        assert!(certificate("    email: a@example.com\n    renew_before: 61d\n")[0].contains("between 1d and 60d"));
        let two = findings(
            "hosts: [web1, web2]\ncertificates:\n  shop:\n    domains: [a.example.com]\n    email: a@example.com\n",
        );
        assert!(two[0].contains("2 hosts"), "{two:?}");
        assert!(findings("hosts: [web1]\n")[0].starts_with("unknown-certificate"));
    }

    #[test]
    fn cap_47_browsers_are_told_to_build_a_name_in_only_when_asked_for() {
        let given = |max_age: Option<u64>, below, preload: Option<bool>| {
            let at = |value| At { value, file: String::new(), place: crate::config::place::Place::default() };
            let preload =
                preload.map(|value| At { value, file: String::new(), place: crate::config::place::Place::default() });
            header(&raw::Hsts {
                max_age: max_age.map(|days| at(Millis(days * DAY))),
                include_subdomains: below,
                preload,
                wrong: crate::config::decode::Wrong::default(),
            })
        };
        assert_eq!(given(None, None, None).unwrap(), "max-age=31536000");
        assert_eq!(given(Some(1), Some(true), None).unwrap(), "max-age=86400; includeSubDomains");
        assert_eq!(given(None, Some(true), Some(false)).unwrap(), "max-age=31536000; includeSubDomains");
        assert_eq!(given(None, Some(true), Some(true)).unwrap(), "max-age=31536000; includeSubDomains; preload");
        assert!(given(None, None, Some(true)).is_err());
        assert!(given(Some(364), Some(true), Some(true)).is_err());
    }
}
