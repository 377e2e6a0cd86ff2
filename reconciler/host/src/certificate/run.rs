//! One run: what is due is issued, put in place, served and proven.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use holdfast_protocol::{CertificateIssuer, certificate_file};

use super::decide::{self, Need};
use super::openssl::{self, Served};
use super::place::{Failed, Place, now_ms};
use super::{CertificateError, acme, at, fail};
use crate::transaction::reload_nginx;

/// How often nginx is asked what it serves.
const EVERY: Duration = Duration::from_millis(500);

/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(60);

/// Makes the files exist that nginx names. Whoever calls it holds the lock.
///
/// # Errors
/// An I/O error, or no `openssl`.
pub(super) fn begin(place: &Place) -> Result<String, CertificateError> {
    let webroot = place.path("webroot").display().to_string();
    let challenge = format!(
        "# Written by Holdfast.\nlocation ^~ /.well-known/acme-challenge/ {{\n    root {webroot};\n    default_type text/plain;\n}}\n"
    );
    for (name, content) in
        [(certificate_file::CHALLENGE, challenge), (certificate_file::HSTS, decide::hsts(&place.spec, false))]
    {
        if !place.path(name).exists() {
            place.write(name, &content)?;
        }
    }
    if place.chain().exists() {
        return Ok(String::new());
    }
    let own = matches!(place.spec.issuer, CertificateIssuer::SelfSigned {});
    let pair = place.new_pair()?;
    openssl::make(&pair, &place.spec.domains, !own)?;
    place.install(&pair)?;
    Ok(if own { "made a certificate of its own".to_owned() } else { "made a temporary certificate".to_owned() })
}

/// Does what is due; `anew` issues another one in any case. Returns a line for people.
///
/// # Errors
/// What failed; it is noted for the next look of the manager. What is served stays as it was.
pub(super) fn run(place: &Place, anew: bool) -> Result<String, CertificateError> {
    let _runs = place.lock_runs()?;
    let before = place.failed().unwrap_or_default();
    let mut tries = before.tries;
    let renewed = renew(place, anew, &before, &mut tries);
    // Also when nothing could be issued: nginx may have to read what is there, and HSTS must not outlive its proof.
    let said = match (renewed, served(place)) {
        (Ok(said), Ok(())) => Ok(said),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    match said {
        Ok(Renewed::Later(said)) => Ok(said),
        Ok(Renewed::Done(said)) => {
            place.remove("failed.json")?;
            Ok(said)
        }
        Err(error) => {
            place.note(&Failed { at_ms: now_ms(), text: error.to_string(), tries })?;
            Err(error)
        }
    }
}

/// How a look at what is due ended.
enum Renewed {
    /// What there is, is good.
    Done(String),
    /// The authority is left alone for a time.
    Later(String),
}

fn renew(place: &Place, anew: bool, before: &Failed, tries: &mut u32) -> Result<Renewed, CertificateError> {
    {
        let _lock = place.lock()?;
        begin(place)?;
    }
    let issued = acme::lineage(place);
    let live = openssl::read(&place.chain())?;
    // What certbot was cut down in the middle of counts for nothing.
    let whole = openssl::read(&issued.chain)
        .ok()
        .flatten()
        .filter(|_| openssl::belong(&issued.chain, &issued.key).unwrap_or(false));
    let need = decide::need(&place.spec, live.as_ref(), whole.as_ref(), now_ms());
    if need == Need::Nothing && !anew {
        return Ok(Renewed::Done("nothing is due".to_owned()));
    }
    match &place.spec.issuer {
        CertificateIssuer::SelfSigned {} => {
            let _lock = place.lock()?;
            let pair = place.new_pair()?;
            openssl::make(&pair, &place.spec.domains, false)?;
            place.install(&pair)?;
        }
        CertificateIssuer::Acme { directory, email, trust } => {
            if need != Need::Install || anew {
                if let Some(later) = due(place, before).filter(|_| !anew) {
                    return Ok(Renewed::Later(later));
                }
                if !trust.is_empty() {
                    fs::metadata(trust).map_err(at(std::path::Path::new(trust)))?;
                }
                acme::answered(place)?;
                *tries = tries.saturating_add(1);
                acme::issue(place, directory, email, trust)?;
                *tries = 0;
            }
            let _lock = place.lock()?;
            let pair = place.new_pair()?;
            for (from, name) in [(&issued.chain, "chain.pem"), (&issued.key, "key.pem")] {
                let to = pair.join(name);
                // certbot's names are links; a copy keeps the mode of what they lead to.
                fs::copy(from, &to).map_err(at(from))?;
            }
            let key = pair.join("key.pem");
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(at(&key))?;
            place.install(&pair)?;
        }
    }
    Ok(Renewed::Done(format!("a certificate for {} is in its place", place.spec.domains.join(", "))))
}

/// Returns when an authority that was asked in vain is asked again; `None` when that is now.
pub(super) fn due(place: &Place, before: &Failed) -> Option<String> {
    let left =
        before.at_ms.saturating_add(decide::wait_ms(before.tries)).checked_sub(now_ms()).filter(|left| *left > 0)?;
    // Whoever changed the declaration wants to see whether it helped.
    (before.at_ms >= place.declared_ms).then(|| format!("asks again in {}m: {}", left.div_ceil(60_000), before.text))
}

/// Has nginx serve what is in its place, and HSTS sent exactly when HTTPS is proven.
fn served(place: &Place) -> Result<(), CertificateError> {
    let trust = match &place.spec.issuer {
        CertificateIssuer::Acme { trust, .. } => trust.as_str(),
        CertificateIssuer::SelfSigned {} => "",
    };
    let wanted = fs::read_to_string(place.chain()).map_err(at(&place.chain()))?;
    let Some(wanted) = openssl::leaf(&wanted) else {
        return fail(format!("{}: no certificate", place.chain().display()));
    };
    if !trust.is_empty() {
        fs::metadata(trust).map_err(at(std::path::Path::new(trust)))?;
    }
    let until = Instant::now() + acme::PATIENCE;
    let mut reloaded = false;
    let proofs = loop {
        match ask(place, trust) {
            // Nobody serves yet: whoever starts nginx, or lets it read the site, has it read this too.
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => {}
            Ok(answers) => {
                let old = answers.iter().find(|(_, served)| served.leaf != wanted);
                match old {
                    None if !place.is_owed() => break answers,
                    Some((domain, _)) if reloaded && Instant::now() >= until => {
                        return fail(format!(
                            "nginx serves another certificate for {domain} on port {}: is it among the site's names?",
                            place.spec.port
                        ));
                    }
                    Some(_) if reloaded => {}
                    None | Some(_) => {
                        reload(place)?;
                        reloaded = true;
                        continue;
                    }
                }
            }
        }
        std::thread::sleep(EVERY);
    };
    let unproven = proofs.iter().find_map(|(domain, served)| Some((domain, served.verified.as_ref().err()?)));
    let content = decide::hsts(&place.spec, unproven.is_none());
    let path = place.path(certificate_file::HSTS);
    let now = match fs::read_to_string(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
        other => other.unwrap_or_default(),
    };
    if now != content {
        {
            let _lock = place.lock()?;
            place.owe()?;
            place.write(certificate_file::HSTS, &content)?;
        }
        reload(place)?;
    }
    match unproven {
        Some((domain, why)) if matches!(place.spec.issuer, CertificateIssuer::Acme { .. }) => {
            fail(format!("HTTPS of {domain} is served and not proven: {why}"))
        }
        _ => Ok(()),
    }
}

fn ask<'p>(place: &'p Place, trust: &str) -> Result<Vec<(&'p str, Served)>, CertificateError> {
    let domains = place.spec.domains.iter();
    domains.map(|domain| Ok((domain.as_str(), openssl::served(place.spec.port, domain, trust)?))).collect()
}

fn reload(place: &Place) -> Result<(), CertificateError> {
    reload_nginx(&place.host, RELOAD).map_err(CertificateError)?;
    place.paid()
}
