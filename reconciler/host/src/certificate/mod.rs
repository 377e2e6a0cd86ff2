//! Certificates of this host: issued, renewed, served and proven.
//!
//! # Flow
//! A transaction calls [`begin`], so that nginx finds a certificate. A timer calls [`command`] with the path of a declaration: what is
//! due is issued beside what is served, put in its place by one rename, nginx is reloaded once, and asked over TLS what it serves now.
//! Each step is judged by what is there, so that a run that was cut down is finished by the next one.
//!
//! # Format
//! `certificates/<environment>/<name>/`: `live` leads to the folder in `pairs` with the `chain.pem` and `key.pem` that nginx names;
//! `challenge.conf` and `hsts.conf` are included by the site; `webroot` is what an ACME server asks for; `acme` is certbot's own;
//! `reload-owed` is there from before nginx's files change until nginx has read them; `failed.json` says how the last run failed.

mod acme;
mod decide;
mod live;
mod openssl;
mod place;
mod run;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use holdfast_protocol::CertificateSpec;

pub use live::look;

use crate::transaction::Host;
use place::Place;

/// Why there is no certificate, or none that is proven.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

/// Returns an error with this text.
fn fail<T>(text: impl Into<String>) -> Result<T, CertificateError> {
    Err(CertificateError(text.into()))
}

impl From<crate::exec::ExecError> for CertificateError {
    fn from(error: crate::exec::ExecError) -> Self {
        Self(error.to_string())
    }
}

/// Returns an error about a path.
fn at(path: &Path) -> impl Fn(std::io::Error) -> CertificateError + '_ {
    move |error| CertificateError(format!("{}: {error}", path.display()))
}

/// Makes the files exist that nginx names for a certificate. What is there stays as it is.
///
/// # Errors
/// [`CertificateError`]: an I/O error, or no `openssl`.
pub fn begin(host: &Host, spec: &CertificateSpec) -> Result<String, CertificateError> {
    let place = Place::new(host, spec.clone())?;
    let _lock = place.lock()?;
    run::begin(&place)
}

/// Does what the words of the command line after `certificate` say.
pub fn command(host: &Host, words: &[&str]) -> ExitCode {
    let done = match words {
        ["run", declaration] => Place::load(host, Path::new(declaration)).and_then(|place| run::run(&place, false)),
        ["renew", declaration] => Place::load(host, Path::new(declaration)).and_then(|place| run::run(&place, true)),
        _ => fail("usage: holdfast-host certificate run|renew DECLARATION"),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("holdfast-host: {error}");
            ExitCode::FAILURE
        }
    }
}
