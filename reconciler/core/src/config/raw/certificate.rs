//! Certificates of an environment.

use super::backup::Folder;
use super::leaf::{EmailAddress, PlainUrl};
use crate::config::certificates::CertificateAuthority;
use crate::config::decode::{Must, Port, parsed, record, words};
use crate::config::place::At;
use crate::time::Millis;

words!(CertificateAuthority, "issuer", {
    "acme" => CertificateAuthority::Acme,
    "self_signed" => CertificateAuthority::SelfSigned,
});

record!(
    /// A certificate: for which names, who issues it, and when it is renewed.
    Certificate, "a certificate", {
    /// The names it is for, the main one first; without `*`.
    domains: Must<Vec<At<DomainName>>>,
    /// `acme`: an authority such as Let's Encrypt, by `certbot` on the host; `self_signed`: the host itself, which production refuses.
    /// Default: `acme`.
    issuer: Option<At<CertificateAuthority>>,
    /// Whom the authority writes to. Needed for `acme`.
    email: Option<At<EmailAddress>>,
    /// The directory of the ACME server. Default: Let's Encrypt's.
    directory: Option<At<PlainUrl>>,
    /// A PEM file of the host with the authorities to trust besides the system's, of the ACME server and of what it issues: for a
    /// server of your own. Default: none.
    trust: Option<At<Folder>>,
    /// How long before its end it is renewed, from `1d` to `60d`. Default: `30d`.
    renew_before: Option<At<Millis>>,
    /// The port on which nginx serves it. Default: 443.
    port: Option<Port>,
    /// The header that tells browsers to use HTTPS alone, sent once HTTPS was proven. Default: none.
    hsts: Option<At<Hsts>>,
});

record!(
    /// HTTP Strict Transport Security.
    Hsts, "`hsts`", {
    /// How long browsers keep to it. Default: `365d`.
    max_age: Option<At<Millis>>,
    /// Whether it holds for all names below as well. Default: `false`.
    include_subdomains: Option<bool>,
    /// Whether browsers may build the name in, which cannot be taken back for months. Default: `false`.
    preload: Option<At<bool>>,
});

/// The name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateName(pub(crate) String);

parsed!(CertificateName, "a certificate's name", "^[a-z][a-z0-9-]{0,30}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 31 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!(
            "`{}` is no name of a certificate: lower-case letters, digits and `-`, 31 at the most",
            shown(text)
        ))
    }
});

/// A name in the DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DomainName(pub(crate) String);

// Lower case alone, so that it can be compared with what a certificate says. `*.` is let through to be told what to do about it.
parsed!(
    DomainName,
    "a domain name",
    "^(\\*\\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
    |text| {
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let labels = text.strip_prefix("*.").unwrap_or(text);
        if text.len() <= 253 && labels.contains('.') && labels.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no domain name: lower-case, such as www.example.com", shown(text)))
        }
    }
);

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}
