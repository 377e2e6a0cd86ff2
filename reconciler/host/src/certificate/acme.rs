//! A certificate of an ACME server, by the host's `certbot` over the site that serves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::place::Place;
use super::{CertificateError, at, fail, openssl};
use crate::exec::Call;
use crate::transaction::ask_nginx;

/// How long certbot may take: an authority has its own queues.
const DEADLINE: Duration = Duration::from_secs(600);

/// How long the site may take to answer for the names: it may be going live just now, after others.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(500);

/// A name below which no authority asks.
const TRIAL: &str = "holdfast-trial";

/// The port on which an authority asks.
///
/// # Source
/// RFC 8555, section 8.3.
const PORT: u16 = 80;

/// Where certbot keeps what was issued.
pub(super) struct Lineage {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Returns what certbot issued last, where it is whole.
pub(super) fn lineage(place: &Place) -> Lineage {
    let folder = place.path("acme/config/live").join(&place.spec.name);
    Lineage { chain: folder.join("fullchain.pem"), key: folder.join("privkey.pem") }
}

/// Waits until the site answers on port 80 for every name as an authority will ask: no try is wasted on a site that is not there yet.
///
/// # Errors
/// Which name is not answered for, and by what.
pub(super) fn answered(place: &Place) -> Result<(), CertificateError> {
    let trial = place.asked().join(TRIAL);
    fs::write(&trial, &place.spec.name)
        .and_then(|()| fs::set_permissions(&trial, std::os::unix::fs::PermissionsExt::from_mode(0o644)))
        .map_err(at(&trial))?;
    let until = Instant::now() + PATIENCE;
    let result = loop {
        let missing = place.spec.domains.iter().find_map(|domain| unanswered(place, domain));
        match missing {
            None => break Ok(()),
            Some(why) if Instant::now() >= until => break fail(why),
            Some(_) => std::thread::sleep(EVERY),
        }
    };
    place.remove(&format!("webroot/.well-known/acme-challenge/{TRIAL}"))?;
    result
}

fn unanswered(place: &Place, domain: &str) -> Option<String> {
    let path = format!("/.well-known/acme-challenge/{TRIAL}");
    let why = match ask_nginx(PORT, &path, domain, Duration::from_secs(5)) {
        Ok((200, body)) if body == place.spec.name.as_bytes() => return None,
        Ok((status, _)) => format!("it answers {status}"),
        Err(error) => error,
    };
    Some(format!(
        "the site does not answer an authority for {domain} on port {PORT}: {why}; its server block there must name the domain and \
         include the certificate's `challenge`"
    ))
}

/// Has a certificate issued.
///
/// # Guarantees
/// certbot keeps everything in a folder of ours: what else it manages on the host is not touched, and its own timer does not renew it.
/// What was issued before is put away first, so that a run that was cut down in the middle leaves nothing in the way.
///
/// # Errors
/// What certbot said.
pub(super) fn issue(place: &Place, directory: &str, email: &str, trust: &str) -> Result<(), CertificateError> {
    for part in ["live", "archive"] {
        let folder = place.path("acme/config").join(part).join(&place.spec.name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder)(error)),
            _ => {}
        }
    }
    let renewal = place.path("acme/config/renewal").join(format!("{}.conf", place.spec.name));
    match fs::remove_file(&renewal) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&renewal)(error)),
        _ => {}
    }
    let shown = |path: &Path| path.display().to_string();
    let mut args: Vec<String> =
        ["certonly", "--non-interactive", "--agree-tos", "--no-eff-email", "--no-directory-hooks"]
            .map(str::to_owned)
            .to_vec();
    for (key, value) in [
        ("--config-dir", shown(&place.path("acme/config"))),
        ("--work-dir", shown(&place.path("acme/work"))),
        ("--logs-dir", shown(&place.path("acme/logs"))),
        ("--server", directory.to_owned()),
        ("--email", email.to_owned()),
        ("--cert-name", place.spec.name.clone()),
        ("--key-type", "ecdsa".to_owned()),
        ("--webroot-path", shown(&place.path("webroot"))),
    ] {
        args.extend([key.to_owned(), value]);
    }
    args.push("--webroot".to_owned());
    args.extend(place.spec.domains.iter().flat_map(|domain| ["-d".to_owned(), domain.clone()]));
    let mut call = Call::new("certbot", args).deadline(DEADLINE).keep_tail();
    if !trust.is_empty() {
        // certbot asks over HTTPS by way of python-requests, which reads this.
        call = call.env("REQUESTS_CA_BUNDLE", trust);
    }
    call.run()?;
    let issued = lineage(place);
    if !openssl::belong(&issued.chain, &issued.key)? {
        return fail("certbot ended well, and the key it left does not belong to its certificate");
    }
    Ok(())
}
