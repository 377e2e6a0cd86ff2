//! The certificate of a site on one host: a declaration for the host program, and the timer that calls it.
//!
//! It is a component of its own, before the site: nginx's files name a certificate that must be there when they are tested.

use std::collections::BTreeMap;

use holdfast_protocol::{CertificateIssuer, CertificateSpec};

use super::backups::PROGRAM;
use super::component::own_file;
use super::path::{Place, UNITS};
use super::{Artifacts, DesiredComponent, DesiredUnit};
use crate::config::{App, Certificate, CertificateAuthority, Component, Environment};
use crate::id::DigestWriter;
use crate::render::Content;

/// Where the host keeps what Holdfast stores.
const ROOT: &str = "/var/lib/holdfast";

/// Minutes between two looks at a certificate.
const EVERY: u32 = 20;

/// Returns the folder of a certificate on a host.
pub(super) fn folder(environment: &Environment, certificate: &Certificate) -> String {
    spec(environment, certificate).folder(ROOT)
}

fn spec(environment: &Environment, certificate: &Certificate) -> CertificateSpec {
    CertificateSpec {
        environment: environment.name.to_string(),
        name: certificate.name.clone(),
        domains: certificate.domains.clone(),
        issuer: match certificate.authority {
            CertificateAuthority::Acme => CertificateIssuer::Acme {
                directory: certificate.directory.clone(),
                email: certificate.email.clone(),
                trust: certificate.trust.clone(),
            },
            CertificateAuthority::SelfSigned => CertificateIssuer::SelfSigned {},
        },
        renew_before_ms: certificate.renew_before.0,
        hsts: certificate.hsts.clone(),
        port: certificate.port,
    }
}

/// Returns the component that the certificate of a component becomes; `None` when it has none.
pub(super) fn certificate(environment: &Environment, app: &App, component: &Component) -> Option<DesiredComponent> {
    let declared = environment.certificates.get(component.certificate.as_ref()?)?;
    // Its name was judged with the rest of the configuration.
    let name = crate::config::certificate_component(&component.name).parse().ok()?;
    let spec = spec(environment, declared);
    let place = Place { environment: &environment.name, app: &app.name, component: &name, slot: None };
    let path = format!("{}/{}.json", place.directory(), declared.name);
    let mut text = serde_json::to_string_pretty(&spec).expect("BUG: plain data always encodes");
    text.push('\n');
    let mut artifacts = Artifacts::default();
    let mut put = |path: String, text: String| {
        artifacts.files.insert(path, own_file(Content::plain(text), &declared.origin, false));
    };
    put(path.clone(), text);
    let unit = format!("holdfast-certificate-{}-{}", environment.name, declared.name);
    let about = format!("certificate {} in {}", declared.name, environment.name);
    put(format!("{UNITS}/{unit}.service"), service(&about, &path));
    put(format!("{UNITS}/{unit}.timer"), timer(&about, minute(&unit)));
    artifacts.units.insert(format!("{unit}.timer"), DesiredUnit { enabled: true });
    Some(DesiredComponent {
        certificates: BTreeMap::from([(path, spec)]),
        ..DesiredComponent::of_files(name, artifacts, component.origin.clone())
    })
}

/// Returns the minute in which a certificate is looked at: each its own, so that an authority is not asked by everybody at once.
fn minute(unit: &str) -> u32 {
    u32::from(DigestWriter::new().field(unit).finish().0[0]) % EVERY
}

/// # Source
/// systemd.service(5), systemd.exec(5).
fn service(about: &str, declaration: &str) -> String {
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: {about}\n\
         RequiresMountsFor={ROOT}\n\
         After=nginx.service network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={PROGRAM} certificate run {declaration}\n\
         TimeoutStartSec=1800\n\
         UMask=0077\n"
    )
}

/// At its start the timer calls at once: for the first issue, and when the declaration changed.
///
/// # Source
/// systemd.timer(5).
fn timer(about: &str, minute: u32) -> String {
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: {about}, every {EVERY} minutes\n\
         \n\
         [Timer]\n\
         OnActiveSec=1s\n\
         OnCalendar=*-*-* *:{minute:02}/{EVERY}:00 UTC\n\
         Persistent=true\n\
         AccuracySec=1s\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n"
    )
}
