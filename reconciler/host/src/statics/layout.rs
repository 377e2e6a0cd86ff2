use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use holdfast_protocol::{Digest, StaticAt};

/// Where static files lie on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    link: PathBuf,
    /// The last part of the link.
    name: String,
}

impl Layout {
    /// Returns the layout of a link.
    ///
    /// # Errors
    /// That it is no plain absolute path with a folder above it.
    pub fn of(link: &str) -> Result<Self, String> {
        let path = Path::new(link);
        let plain = path.is_absolute()
            && !link.contains('\0')
            && path.components().count() > 2
            && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let name = path.file_name().and_then(|name| name.to_str());
        match name {
            Some(name) if plain => Ok(Self { link: path.to_owned(), name: name.to_owned() }),
            _ => Err(format!("{} is no plain absolute path in a folder", link.escape_debug())),
        }
    }

    /// Returns the link.
    pub fn link(&self) -> &Path {
        &self.link
    }

    /// Returns the folder that link and releases are in.
    pub fn parent(&self) -> &Path {
        self.link.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the folder of all releases.
    pub fn releases(&self) -> PathBuf {
        self.parent().join(self.releases_name())
    }

    fn releases_name(&self) -> String {
        format!(".{}-releases", self.name)
    }

    /// Returns the folder of a release.
    pub fn release(&self, release: &Digest) -> PathBuf {
        self.releases().join(release.to_string())
    }

    /// Returns the list of what was unpacked of a release.
    pub fn manifest(&self, release: &Digest) -> PathBuf {
        self.releases().join(format!("{release}.json"))
    }

    /// Returns the folder that a release is unpacked in.
    pub fn unpacking(&self, release: &Digest) -> PathBuf {
        self.releases().join(format!(".new-{release}"))
    }

    /// Returns what the link says when it leads to a release.
    pub fn target(&self, release: &Digest) -> PathBuf {
        Path::new(&self.releases_name()).join(release.to_string())
    }

    /// Returns the name that a new link has before it takes the place of the old one.
    pub fn new_link(&self) -> PathBuf {
        self.parent().join(format!(".{}-new", self.name))
    }

    /// Returns where something goes that stood at the link's place before it.
    pub fn adopted(&self) -> PathBuf {
        let mut name = OsString::from(&self.link);
        name.push(".adopted");
        PathBuf::from(name)
    }

    /// Returns what stands at the link's place.
    ///
    /// # Errors
    /// That it cannot be looked at.
    pub fn at(&self) -> std::io::Result<StaticAt> {
        let meta = match std::fs::symlink_metadata(&self.link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(StaticAt::Nothing),
            other => other?,
        };
        if meta.is_symlink() {
            let target = std::fs::read_link(&self.link)?;
            let text = String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned();
            let release = text.strip_prefix(&format!("{}/", self.releases_name())).and_then(|name| name.parse().ok());
            return Ok(release.map_or(StaticAt::Elsewhere(text), StaticAt::Release));
        }
        let what = if meta.is_dir() { "a folder" } else { "no link and no folder" };
        Ok(StaticAt::Foreign(what.to_owned()))
    }
}
