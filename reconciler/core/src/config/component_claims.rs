//! What a component takes for itself on its hosts: names, units, and the components that parts of it become.

use super::certificates::CertificateAuthority;
use super::claims::{Claims, Resource};
use super::findings::Findings;
use super::model::{ComponentKind, Strategy};
use super::place::{At, Place};
use super::raw;
use super::resolve::{Siblings, Surroundings, unit_of};
use super::suggest;
use crate::id::{ComponentName, HostName};

/// Returns the name of the component that the backups of a component become.
pub(crate) fn backup_component(component: &ComponentName) -> String {
    format!("{component}-backup")
}

/// Returns the name of the component that the certificate of a component becomes.
pub(crate) fn certificate_component(component: &ComponentName) -> String {
    format!("{component}-certificate")
}

/// Returns the name of the component that the databases of a component become.
pub(crate) fn databases_component(component: &ComponentName) -> String {
    format!("{component}-databases")
}

/// Returns the name of the component that the settings of a component's Redis become.
pub(crate) fn redis_component(component: &ComponentName) -> String {
    format!("{component}-redis")
}

/// Takes the names that its kind has on a host.
pub(super) fn claim_names(
    name: &At<ComponentName>,
    kind: &ComponentKind,
    strategy: Strategy,
    who: &str,
    hosts: &[HostName],
    siblings: &Siblings<'_>,
    claims: &mut Claims,
) {
    let own = format!("{}-{}", siblings.stem, name.value);
    match kind {
        ComponentKind::Compose { .. } if strategy.has_slots() => {
            for slot in ["blue", "green"] {
                claims.claim(Resource::Project, format!("{own}-{slot}"), who, name, hosts);
            }
        }
        ComponentKind::Compose { .. } => claims.claim(Resource::Project, own, who, name, hosts),
        ComponentKind::Systemd { templates, .. } => {
            for template in templates {
                let place = Place {
                    line: template.origin.line,
                    column: template.origin.column,
                    length: template.value.chars().count() as u32,
                };
                let at = At { value: (), file: template.origin.file.clone(), place };
                claims.claim(Resource::Unit, unit_of(&template.value), who, &at, hosts);
            }
        }
        ComponentKind::Nginx { .. } => claims.claim(Resource::Site, own, who, name, hosts),
        ComponentKind::Firewall(_) | ComponentKind::Static(_) | ComponentKind::Files => {}
    }
}

/// Takes the components that the databases of a component become.
pub(super) fn claim_databases(
    name: &At<ComponentName>,
    raw: &raw::Component,
    siblings: &Siblings<'_>,
    findings: &mut Findings<'_>,
) {
    let mut claim =
        |what: &str, code: &'static str, own: String, missed: &dyn Fn(&mut Findings<'_>, String)| match own
            .parse::<ComponentName>()
        {
            Ok(own) if siblings.components.contains_key(&own) => {
                missed(findings, format!("{what} of `{}` become the component `{own}`, and there is one", name.value));
            }
            Ok(_) => {}
            Err(error) => findings.error_at(code, name, error.to_string(), "give it a shorter name"),
        };
    let hint = "give that component another name";
    if let Some(at) = &raw.postgres {
        let code = "bad-postgres";
        claim("the databases", code, databases_component(&name.value), &|findings, message| {
            findings.error_at(code, at, message, hint);
        });
    }
    if let Some(at) = &raw.redis {
        let code = "bad-redis";
        claim("the settings of the Redis", code, redis_component(&name.value), &|findings, message| {
            findings.error_at(code, at, message, hint);
        });
    }
}

/// Takes the units of its backups, and the folder and component they live in.
pub(super) fn claim_backups(
    name: &At<ComponentName>,
    raw: &raw::Component,
    who: &str,
    hosts: &[HostName],
    siblings: &Siblings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) {
    let Some(backups) = raw.backups.as_ref().filter(|backups| !backups.entries.is_empty()) else { return };
    let own = backup_component(&name.value);
    match own.parse::<ComponentName>() {
        Ok(own) if siblings.components.contains_key(&own) => {
            let message = format!("the backups of `{}` become the component `{own}`, and there is one", name.value);
            findings.error_at("bad-backup", name, message, "give that component another name");
        }
        Ok(_) => {}
        Err(error) => findings.error_at("bad-backup", name, error.to_string(), "give it a shorter name"),
    }
    for entry in &backups.entries {
        let own = format!("{}-{}", siblings.stem, entry.name.value.0);
        claims.claim(Resource::Backup, own, who, &entry.name, hosts);
        for writer in entry.value.iter().flat_map(|backup| backup.writers.iter().flatten()) {
            if writer.value == name.value {
                let message = "it is the component itself, which a restore needs";
                findings.error_at("bad-backup", writer, message, "name the components that write to it");
            } else if !siblings.components.contains_key(&writer.value) {
                let known = siblings.components.keys().map(|name| name.as_str());
                let hint = suggest::hint(writer.value.as_str(), "components", known);
                let message = format!("the app has no component `{}`", writer.value);
                findings.error_at("unknown-component", writer, message, hint);
            }
        }
    }
}

/// Takes the certificate of a site, and the component it lives in.
#[expect(clippy::too_many_arguments, reason = "each is one thing that a name is looked up in or noted with")]
pub(super) fn certificate(
    name: &At<ComponentName>,
    raw: &raw::Component,
    who: &str,
    hosts: &[HostName],
    siblings: &Siblings<'_>,
    around: &Surroundings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let at = raw.certificate.as_ref()?;
    let wanted = &at.value.0;
    let known = around.certificates.keys().map(String::as_str);
    let Some(declared) = around.certificates.get(wanted) else {
        let hint = suggest::hint(wanted, "certificates", known);
        let message = format!("the environment `{}` has no certificate `{wanted}`", around.environment);
        findings.error_at("unknown-certificate", at, message, hint);
        return None;
    };
    if raw.nginx.is_none() && !raw.wrong.any(&["nginx"]) {
        findings.error_at("bad-component", at, "`certificate` needs `nginx`", "give it to the component with `nginx`");
    }
    let own = certificate_component(&name.value);
    match own.parse::<ComponentName>() {
        Ok(own) if siblings.components.contains_key(&own) => {
            let message =
                format!("the certificate of `{}` becomes the component `{own}`, and there is one", name.value);
            findings.error_at("bad-certificate", at, message, "give that component another name");
        }
        Ok(_) => {}
        Err(error) => findings.error_at("bad-certificate", at, error.to_string(), "give the component a shorter name"),
    }
    let acme = declared.as_ref().is_some_and(|declared| declared.authority == CertificateAuthority::Acme);
    if acme && hosts.len() > 1 {
        let message = format!(
            "the certificate `{wanted}` would be issued to {} hosts, and an authority asks only one of them",
            hosts.len()
        );
        findings.error_at("bad-certificate", at, message, "put the site on one host, or give each its own names");
    }
    claims.claim(Resource::Certificate, format!("{}/{wanted}", around.environment), who, at, hosts);
    Some(wanted.clone())
}
