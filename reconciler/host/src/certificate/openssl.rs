//! Certificates as the host's `openssl` makes, reads and fetches them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{CertificateError, at, fail};
use crate::exec::Call;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Days for which the host's own certificates are good.
const DAYS: &str = "90";

/// The organisation in the host's own certificates, and what one that only holds the place is called.
const OWN: &str = "Holdfast";
const TEMPORARY: &str = "temporary";

/// The first certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// Who issued it.
    pub(super) issuer: String,
    /// The names it is for, sorted.
    pub(super) domains: Vec<String>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub(super) not_after_ms: u64,
    /// For how long it was made, in milliseconds.
    pub(super) lifetime_ms: u64,
    /// Whether the host made it.
    pub(super) own: bool,
    /// Whether it only holds the place of one that is to be issued.
    pub(super) temporary: bool,
}

impl Chain {
    /// Returns whether it is for these names and no others.
    pub(super) fn is_for(&self, domains: &[String]) -> bool {
        let mut wanted = domains.to_vec();
        wanted.sort();
        wanted == self.domains
    }
}

/// Reads a chain; `None` when there is no such file.
///
/// # Errors
/// When it is none that `openssl` reads.
pub(super) fn read(path: &Path) -> Result<Option<Chain>, CertificateError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
        Ok(_) => {}
    }
    let file = path.display().to_string();
    let args = ["x509", "-in", &file, "-noout", "-subject", "-issuer", "-dates", "-nameopt", "RFC2253", "-ext"];
    let call = Call::new("openssl", args.into_iter().chain(["subjectAltName"])).deadline(DEADLINE);
    let text = String::from_utf8_lossy(&call.run()?.stdout).into_owned();
    match parse(&text) {
        Some(chain) => Ok(Some(chain)),
        None => fail(format!("{file}: `openssl x509` says nothing of it that can be read")),
    }
}

/// # Source
/// openssl-x509(1), `-subject -issuer -dates -ext subjectAltName`, OpenSSL 1.1.1 to 3.5: `notAfter=Nov 21 21:05:00 2026 GMT`.
fn parse(text: &str) -> Option<Chain> {
    let after = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let (subject, issuer) = (after("subject=")?, after("issuer=")?);
    let mut domains: Vec<String> = text
        .lines()
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().strip_prefix("DNS:"))
        .map(str::to_owned)
        .collect();
    domains.sort();
    let own = subject == issuer && subject.split(',').any(|part| part == format!("O={OWN}"));
    let not_after_ms = moment(after("notAfter=")?)?;
    Some(Chain {
        issuer: issuer.to_owned(),
        domains,
        not_after_ms,
        lifetime_ms: not_after_ms.saturating_sub(moment(after("notBefore=")?)?),
        own,
        temporary: own && subject.split(',').any(|part| part == format!("CN={TEMPORARY}")),
    })
}

/// Returns a moment such as `Nov 21 21:05:00 2026 GMT` in milliseconds since the Unix epoch.
///
/// # Source
/// Days of a date by eras of 400 years that begin in March.
fn moment(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_whitespace();
    let month = MONTHS.iter().position(|month| Some(*month) == text.get(..3))? as u64 + 1;
    let (day, time, year) = (words.nth(1)?.parse::<u64>().ok()?, words.next()?, words.next()?.parse::<u64>().ok()?);
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let seconds = parts.next()?? * 3600 + parts.next()?? * 60 + parts.next()??;
    if words.next() != Some("GMT") || !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)?;
    Some((days * 86_400 + seconds) * 1000)
}

/// Makes a certificate of the host's own, and its key.
///
/// # Errors
/// When `openssl` refuses, or is not there.
pub(super) fn make(folder: &Path, domains: &[String], temporary: bool) -> Result<(), CertificateError> {
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let names: Vec<String> = domains.iter().map(|domain| format!("DNS:{domain}")).collect();
    let subject = format!("/O={OWN}/CN={}", if temporary { TEMPORARY } else { "self-signed" });
    let call = Call::new(
        "openssl",
        [
            "req".to_owned(),
            "-x509".to_owned(),
            "-newkey".to_owned(),
            "ec".to_owned(),
            "-pkeyopt".to_owned(),
            "ec_paramgen_curve:prime256v1".to_owned(),
            "-nodes".to_owned(),
            "-sha256".to_owned(),
            "-days".to_owned(),
            DAYS.to_owned(),
            "-subj".to_owned(),
            subject,
            "-addext".to_owned(),
            format!("subjectAltName={}", names.join(",")),
            "-keyout".to_owned(),
            key.display().to_string(),
            "-out".to_owned(),
            chain.display().to_string(),
        ],
    );
    call.deadline(DEADLINE).run()?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(at(&key))
}

/// Returns whether a key belongs to the first certificate of a chain.
///
/// # Errors
/// When one of them cannot be read.
pub(super) fn belong(chain: &Path, key: &Path) -> Result<bool, CertificateError> {
    let (chain, key) = (chain.display().to_string(), key.display().to_string());
    let public = |args: [&str; 5]| Call::new("openssl", args).deadline(DEADLINE).run();
    let of_chain = public(["x509", "-in", &chain, "-noout", "-pubkey"])?.stdout;
    let of_key = public(["pkey", "-in", &key, "-pubout", "-outform=PEM"])?.stdout;
    Ok(!of_chain.is_empty() && of_chain == of_key)
}

/// Returns the first certificate of a PEM text, without line breaks.
pub(super) fn leaf(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    Some(body.split_whitespace().collect())
}

/// What a server says over TLS for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    /// Its certificate.
    pub(super) leaf: String,
    /// Whether a browser would take it: its chain, its dates, its name. Why not otherwise.
    pub(super) verified: Result<(), String>,
}

/// Asks the host's nginx over TLS for a name.
///
/// # Errors
/// When nobody answers.
pub(super) fn served(port: u16, domain: &str, trust: &str) -> Result<Served, CertificateError> {
    let address = format!("127.0.0.1:{port}");
    let mut args = vec!["s_client", "-connect", &address, "-servername", domain, "-verify_hostname", domain];
    if !trust.is_empty() {
        args.extend(["-CAfile", trust]);
    }
    let output = Call::new("openssl", args).deadline(DEADLINE).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(leaf) = leaf(&text) else {
        return fail(format!("nobody answers on port {port} with a certificate for {domain}"));
    };
    let code = text.lines().find_map(|line| line.trim().strip_prefix("Verify return code: ")).unwrap_or("unknown");
    let verified = if code.starts_with("0 ") { Ok(()) } else { Err(code.to_owned()) };
    Ok(Served { leaf, verified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_openssl_writes_them() {
        // `date -u -d '…' +%s`
        assert_eq!(moment("Nov 21 02:00:00 2026 GMT"), Some(1_795_226_400_000));
        assert_eq!(moment("Jan  1 00:00:00 1970 GMT"), Some(0));
        assert_eq!(moment("Feb 29 00:00:00 2000 GMT"), Some(951_782_400_000));
        assert_eq!(moment("Feb 29 00:00:00 2000 CET"), None);
        assert_eq!(moment("nonsense"), None);
    }

    #[test]
    fn what_openssl_says_of_a_certificate() {
        let text = "subject=CN=a.example\nissuer=CN=Pebble Intermediate CA 1a2b3c\nnotBefore=Nov 20 02:00:00 2026 GMT\nnotAfter=Nov 21 02:00:00 2026 GMT\n\
            X509v3 Subject Alternative Name: \n    DNS:b.example, DNS:a.example\n";
        let chain = parse(text).unwrap();
        assert_eq!(chain.domains, ["a.example", "b.example"]);
        assert_eq!(chain.lifetime_ms, 86_400_000);
        assert_eq!((chain.issuer.as_str(), chain.own), ("CN=Pebble Intermediate CA 1a2b3c", false));
        let own = "subject=CN=temporary,O=Holdfast\nissuer=CN=temporary,O=Holdfast\nnotBefore=Nov 20 02:00:00 2026 GMT\nnotAfter=Nov 21 02:00:00 2026 GMT\n";
        let chain = parse(own).unwrap();
        assert!(chain.own && chain.temporary);
        assert_eq!(parse("subject=x\n"), None);
    }

    #[test]
    fn the_first_of_a_chain_is_the_one_that_is_served() {
        let text = "x\n-----BEGIN CERTIFICATE-----\nAB\nCD\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nEF\n-----END CERTIFICATE-----\n";
        assert_eq!(leaf(text).as_deref(), Some("ABCD"));
        assert_eq!(leaf("nothing"), None);
    }
}
