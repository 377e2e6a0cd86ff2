use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_protocol::{CertificateSpec, certificate_file};
use serde::{Deserialize, Serialize};

use super::{CertificateError, at, fail};
use crate::disk::Access;
use crate::lock::Lock;
use crate::paths::{create_private, sync_folder};
use crate::transaction::Host;

/// nginx's workers, which are not root, look for an ACME server's question below it.
const PASSABLE: u32 = 0o711;

const SECRET: Access = Access { mode: 0o600, owner: None };
const PLAIN: Access = Access { mode: 0o644, owner: None };

/// How the last run failed.
///
/// # Format
/// JSON in `failed.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) at_ms: u64,
    pub(super) text: String,
    /// How often in a row the authority was asked in vain.
    pub(super) tries: u32,
}

/// One certificate on this host: its declaration and its folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) spec: CertificateSpec,
    pub(super) host: Host,
    folder: PathBuf,
    /// When it was declared, in milliseconds since the Unix epoch; 0 where that is not known.
    pub(super) declared_ms: u64,
}

impl Place {
    /// Reads a declaration.
    ///
    /// # Errors
    /// When it cannot be read, or is none of ours.
    pub(super) fn load(host: &Host, declaration: &Path) -> Result<Self, CertificateError> {
        let apps = host.root.path().join("apps");
        if !declaration.starts_with(&apps) || declaration.components().any(|part| part.as_os_str() == "..") {
            return fail(format!(
                "{}: declarations of certificates lie below {}",
                declaration.display(),
                apps.display()
            ));
        }
        let bytes = fs::read(declaration).map_err(at(declaration))?;
        let spec: CertificateSpec = serde_json::from_slice(&bytes)
            .map_err(|error| CertificateError(format!("{}: {error}", declaration.display())))?;
        let modified = fs::metadata(declaration).and_then(|meta| meta.modified()).map_err(at(declaration))?;
        Ok(Self { declared_ms: ms(modified), ..Self::new(host, spec)? })
    }

    /// Returns the place of a certificate that need not be there yet.
    ///
    /// # Errors
    /// When its names are none.
    pub(super) fn new(host: &Host, spec: CertificateSpec) -> Result<Self, CertificateError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        for name in [&spec.environment, &spec.name] {
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
                return fail(format!("`{}` is no name", name.escape_debug()));
            }
        }
        for domain in &spec.domains {
            let fits = |c: char| fits(c) || c == '.' || c == '*';
            if domain.is_empty() || domain.starts_with('-') || !domain.chars().all(fits) {
                return fail(format!("`{}` is no domain name", domain.escape_debug()));
            }
        }
        if spec.domains.is_empty() || spec.hsts.contains(['"', '\\', '$', '\n']) {
            return fail("the declaration names no domain, or its HSTS header cannot be written");
        }
        let folder = PathBuf::from(spec.folder(&host.root.path().display().to_string()));
        Ok(Self { spec, host: host.clone(), folder, declared_ms: 0 })
    }

    /// Returns the path of something in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the chain that nginx is told to serve.
    pub(super) fn chain(&self) -> PathBuf {
        self.path(certificate_file::CHAIN)
    }

    /// Makes the folders, and waits until nobody else changes what nginx reads: a moment.
    pub(super) fn lock(&self) -> Result<Lock, CertificateError> {
        self.folders()?;
        let path = self.path("lock");
        Lock::take(&path).map_err(at(&path))
    }

    /// Makes the folders, and waits until no other run is under way. A transaction does not wait for it: a run may wait for the site.
    pub(super) fn lock_runs(&self) -> Result<Lock, CertificateError> {
        self.folders()?;
        let path = self.path("run.lock");
        Lock::take(&path).map_err(at(&path))
    }

    fn folders(&self) -> Result<(), CertificateError> {
        let environment = self.folder.parent().unwrap_or(&self.folder);
        let all = environment.parent().unwrap_or(environment);
        for folder in [all, environment, &self.folder] {
            DirBuilder::new().recursive(true).mode(PASSABLE).create(folder).map_err(at(folder))?;
            fs::set_permissions(folder, fs::Permissions::from_mode(PASSABLE)).map_err(at(folder))?;
        }
        for folder in [self.path("pairs"), self.path("acme")] {
            create_private(&folder).map_err(at(&folder))?;
        }
        let asked = self.asked();
        fs::create_dir_all(&asked).map_err(at(&asked))?;
        for folder in asked.ancestors().take_while(|folder| **folder != *self.folder) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(at(folder))?;
        }
        Ok(())
    }

    /// Returns the folder in which an ACME server's question is answered.
    pub(super) fn asked(&self) -> PathBuf {
        self.path("webroot/.well-known/acme-challenge")
    }

    /// Returns a new, empty folder for a pair.
    pub(super) fn new_pair(&self) -> Result<PathBuf, CertificateError> {
        // What a run that was cut down left.
        let folder = self.path("pairs/new");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder)(error)),
            _ => {}
        }
        create_private(&folder).map_err(at(&folder))?;
        Ok(folder)
    }

    /// Lets `live` lead to a pair: both files change at once, by one rename.
    pub(super) fn install(&self, pair: &Path) -> Result<(), CertificateError> {
        for file in ["chain.pem", "key.pem"] {
            let path = pair.join(file);
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        }
        self.owe()?;
        let pairs = self.path("pairs");
        let before = fs::read_link(self.path("live")).ok();
        let mut stamp = now_ms();
        while pairs.join(stamp.to_string()).exists() {
            stamp += 1;
        }
        let own = pairs.join(stamp.to_string());
        fs::rename(pair, &own).and_then(|()| sync_folder(&pairs)).map_err(at(&own))?;
        let link = self.path("live.new");
        self.host.disk.remove(&link).map_err(at(&link))?;
        let live = self.path("live");
        symlink(format!("pairs/{stamp}"), &link)
            .and_then(|()| fs::rename(&link, &live))
            .and_then(|()| sync_folder(&self.folder))
            .map_err(at(&live))?;
        // The one before stays, for a look; older ones go.
        let kept = [Some(own), before.map(|target| self.folder.join(target))];
        for entry in fs::read_dir(&pairs).map_err(at(&pairs))?.flatten() {
            let path = entry.path();
            if !kept.iter().flatten().any(|kept| *kept == path) {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Notes that nginx has to read its files again, before they change.
    pub(super) fn owe(&self) -> Result<(), CertificateError> {
        self.write("reload-owed", "")
    }

    /// Returns whether nginx has not read its files since they changed.
    pub(super) fn is_owed(&self) -> bool {
        self.path("reload-owed").exists()
    }

    /// Notes that nginx has read them.
    pub(super) fn paid(&self) -> Result<(), CertificateError> {
        self.remove("reload-owed")
    }

    /// Writes a file that is no secret, whole or not at all.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), CertificateError> {
        let path = self.path(name);
        self.host.disk.replace(&path, content.as_bytes(), PLAIN).map_err(at(&path))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), CertificateError> {
        let path = self.path(name);
        self.host.disk.remove(&path).map_err(at(&path))
    }

    /// Returns how the last run failed.
    pub(super) fn failed(&self) -> Option<Failed> {
        serde_json::from_slice(&fs::read(self.path("failed.json")).ok()?).ok()
    }

    /// Notes that a run failed.
    pub(super) fn note(&self, failed: &Failed) -> Result<(), CertificateError> {
        let text = serde_json::to_vec(failed).expect("BUG: plain data always encodes");
        let path = self.path("failed.json");
        self.host.disk.replace(&path, &text, SECRET).map_err(at(&path))
    }
}

fn ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// Returns the time by the host's clock, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    ms(SystemTime::now())
}
