//! Looks at how certificates stand, for a report.

use std::collections::BTreeMap;
use std::fs;

use holdfast_protocol::{BackupSaid, CertificateLive, CertificateSpec, ChainLive, Observed, certificate_file};

use super::place::{Place, now_ms};
use super::{CertificateError, openssl};
use crate::transaction::Host;

/// Returns how these certificates stand, by the path of their declaration.
pub fn look(
    host: &Host,
    certificates: &BTreeMap<String, CertificateSpec>,
) -> BTreeMap<String, Observed<CertificateLive>> {
    let one = |spec: &CertificateSpec| {
        stand(host, spec).map_or_else(|error| Observed::Unknown(error.to_string()), Observed::Seen)
    };
    certificates.iter().map(|(path, spec)| (path.clone(), one(spec))).collect()
}

fn stand(host: &Host, spec: &CertificateSpec) -> Result<CertificateLive, CertificateError> {
    let lacks = |program: &&&str| host.system.program(program).is_none();
    let missing: Vec<String> = spec.programs().iter().filter(lacks).map(|program| (*program).to_owned()).collect();
    let place = Place::new(host, spec.clone())?;
    let now = now_ms();
    // Without openssl nothing can be said of it, and the plan says what is missing.
    let chain = if missing.iter().any(|program| program == "openssl") { None } else { openssl::read(&place.chain())? };
    Ok(CertificateLive {
        missing,
        chain: chain.map(|chain| ChainLive {
            issuer: chain.issuer,
            domains: chain.domains,
            not_after_ms: chain.not_after_ms,
            lifetime_ms: chain.lifetime_ms,
            left_ms: i64::try_from(chain.not_after_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(now),
            temporary: chain.temporary,
        }),
        hsts: fs::read_to_string(place.path(certificate_file::HSTS)).is_ok_and(|text| text.contains("\nadd_header ")),
        failed: place.failed().map(|failed| BackupSaid { age_ms: now.saturating_sub(failed.at_ms), text: failed.text }),
    })
}
