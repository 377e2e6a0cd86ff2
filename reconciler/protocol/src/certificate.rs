use serde::{Deserialize, Serialize};

/// A certificate of one environment: for whom it is, who issues it and when it is renewed.
///
/// # Format
/// As JSON it is the file that the manager puts on the host and the certificate's units name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// The environment.
    pub environment: String,
    /// Its name, unique in the environment.
    pub name: String,
    /// The names it is for, the main one first.
    pub domains: Vec<String>,
    /// Who issues it.
    pub issuer: CertificateIssuer,
    /// How long before its end it is renewed, in milliseconds.
    pub renew_before_ms: u64,
    /// The value of the HSTS header; empty without one.
    pub hsts: String,
    /// The port of nginx that serves it.
    pub port: u16,
}

/// Who issues a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateIssuer {
    /// An ACME server, which looks for its answer on port 80 of each name.
    Acme {
        /// Its directory.
        directory: String,
        /// Whom it writes to.
        email: String,
        /// A file of the host with the authorities to trust besides the system's: of the server, and of what it issues. Empty for
        /// none.
        trust: String,
    },
    /// The host itself; nobody else trusts it.
    SelfSigned {},
}

impl CertificateSpec {
    /// Returns the folder of the certificate on a host, below `root`.
    pub fn folder(&self, root: &str) -> String {
        format!("{root}/certificates/{}/{}", self.environment, self.name)
    }

    /// Returns how long before its end one that was made for so long is renewed, in milliseconds: half of its life at the most, for
    /// else one that lives for days would be asked for at every look.
    pub fn due_before_ms(&self, lifetime_ms: u64) -> u64 {
        self.renew_before_ms.min(lifetime_ms / 2)
    }

    /// Returns the programs it needs on a host.
    pub fn programs(&self) -> &'static [&'static str] {
        match self.issuer {
            CertificateIssuer::Acme { .. } => &["openssl", "certbot"],
            CertificateIssuer::SelfSigned {} => &["openssl"],
        }
    }
}

/// Names of files in a certificate's folder.
pub mod certificate_file {
    /// The chain that nginx serves.
    pub const CHAIN: &str = "live/chain.pem";
    /// Its key.
    pub const KEY: &str = "live/key.pem";
    /// What nginx includes to answer an ACME server.
    pub const CHALLENGE: &str = "challenge.conf";
    /// What nginx includes for the HSTS header.
    pub const HSTS: &str = "hsts.conf";
}

/// How a certificate stands on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLive {
    /// Programs that it needs and the host lacks.
    pub missing: Vec<String>,
    /// What nginx is told to serve; `None` when there is nothing.
    pub chain: Option<ChainLive>,
    /// Whether the HSTS header is sent.
    pub hsts: bool,
    /// The last try, when it failed: how long ago in milliseconds, and what it said.
    pub failed: Option<crate::BackupSaid>,
}

/// One certificate as it lies on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLive {
    /// Who issued it, as `openssl` says it.
    pub issuer: String,
    /// The names it is for, sorted.
    pub domains: Vec<String>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// How long that is from now by the host's clock, in milliseconds; negative when it is over.
    pub left_ms: i64,
    /// For how long it was made, in milliseconds.
    pub lifetime_ms: u64,
    /// Whether it was made by the host, so that nginx has one while there is none of the issuer's.
    pub temporary: bool,
}
