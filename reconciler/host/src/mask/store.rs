//! What is secret in the blobs of this host, beside them.
//!
//! # Format
//! `masks/<blob>-<16 digits>`, readable by root only as the blob itself is: `HFM` and a version byte, then the values
//! (`Vec<Hidden>` in postcard's format). The digits are the beginning of the content's own SHA-256, so that a name means one content
//! and a folder's names say whether anything changed. A mask goes when its blob does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use holdfast_protocol::{Digest, Hidden};

use super::Mask;
use crate::disk::{Access, Disk};
use crate::paths::{Root, create_private};

const MAGIC: &[u8; 4] = b"HFM\x01";

/// What is secret on this host, read again when that changes.
#[derive(Debug)]
pub struct Masks {
    root: Root,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    names: BTreeSet<String>,
    mask: Arc<Mask>,
}

impl Masks {
    /// Returns those of the host that stores below `root`.
    pub fn new(root: Root) -> Self {
        Self { root, kept: Mutex::default() }
    }

    /// Remembers what is secret in a blob; durable. Doing it again changes nothing.
    ///
    /// # Errors
    /// Any I/O error; the blob must not be stored then.
    pub fn put(&self, blob: &Digest, values: &[Hidden]) -> io::Result<()> {
        let body = postcard::to_stdvec(values).expect("BUG: plain data always encodes");
        let content = [MAGIC.as_slice(), &body].concat();
        let own = crate::digest::of(&content).to_string();
        let path = self.root.masks().join(format!("{blob}-{}", &own[..16]));
        if path.is_file() {
            return Ok(());
        }
        create_private(&self.root.masks())?;
        Disk::new().replace(&path, &content, Access { mode: 0o600, owner: None })
    }

    /// Returns what must not be shown now. When that cannot be read nothing is shown at all.
    pub fn now(&self) -> Arc<Mask> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match self.refresh(&mut kept) {
            Ok(()) => Arc::clone(&kept.mask),
            Err(error) => {
                *kept = Kept::default();
                Arc::new(Mask::blind(format!("{}: {error}", self.root.masks().display())))
            }
        }
    }

    fn refresh(&self, kept: &mut Kept) -> io::Result<()> {
        let names = names(&self.root)?;
        if names == kept.names {
            return Ok(());
        }
        let (mut values, mut blobs) = (Vec::new(), BTreeSet::new());
        for name in &names {
            let content = match fs::read(self.root.masks().join(name)) {
                // Thrown away meanwhile, with its blob.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => content?,
            };
            let body = content.strip_prefix(MAGIC.as_slice());
            let hidden: Vec<Hidden> = body
                .and_then(|body| postcard::from_bytes(body).ok())
                .ok_or_else(|| io::Error::other(format!("{name} was written by another version, or is damaged")))?;
            values.extend(hidden);
            blobs.extend(blob(name));
        }
        let mask = Mask::of(values.iter().map(|value| value.0.as_slice()));
        *kept = Kept { names, mask: Arc::new(mask.in_blobs(blobs)) };
        Ok(())
    }
}

/// Throws away the masks whose blob is gone. A young one may be that of a blob that is on its way.
///
/// # Errors
/// Any I/O error.
pub(crate) fn collect(root: &Root, now: SystemTime, young: Duration) -> io::Result<()> {
    for name in names(root)? {
        let path = root.masks().join(&name);
        let age = fs::metadata(&path)?.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        if age > young && blob(&name).is_some_and(|blob| !root.blob(&blob).is_file()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns the names of all masks; other files, such as one half written, have other names.
fn names(root: &Root) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(root.masks()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| blob(name).is_some()).map(str::to_owned));
    }
    Ok(names)
}

/// Returns the blob a mask is for.
fn blob(name: &str) -> Option<Digest> {
    let (blob, own) = name.split_once('-')?;
    (own.len() == 16).then_some(())?;
    blob.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hidden(text: &str) -> Vec<Hidden> {
        vec![Hidden(text.as_bytes().to_vec())]
    }

    #[test]
    fn what_is_put_is_covered_at_once_by_everybody_and_lies_privately() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let (one, other) = (Masks::new(root.clone()), Masks::new(root.clone()));
        assert_eq!(one.now().cover("hunter2-of-old".to_owned()), "hunter2-of-old");
        let blob = Digest([7; 32]);
        for _ in 0..2 {
            other.put(&blob, &hidden("hunter2-of-old")).unwrap();
        }
        other.put(&blob, &hidden("more of it")).unwrap();
        assert_eq!(one.now().cover("a hunter2-of-old, more of it".to_owned()), "a ‹secret›, ‹secret›");
        assert!(one.now().hides(&blob) && !one.now().hides(&Digest([8; 32])));
        let files: Vec<_> = fs::read_dir(root.masks()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn one_that_cannot_be_read_withholds_everything() {
        let folder = tempfile::tempdir().unwrap();
        let masks = Masks::new(Root::new(folder.path()));
        masks.put(&Digest([7; 32]), &hidden("hunter2-of-old")).unwrap();
        assert_eq!(masks.now().cover("fine".to_owned()), "fine");
        let name = format!("{}-{}", Digest([9; 32]), "0".repeat(16));
        fs::write(folder.path().join("masks").join(&name), "HFM\x02").unwrap();
        let said = masks.now().cover("a hunter2-of-old".to_owned());
        assert!(!said.contains("hunter2") && said.contains(&name), "{said}");
        fs::remove_file(folder.path().join("masks").join(name)).unwrap();
        assert_eq!(masks.now().cover("a hunter2-of-old".to_owned()), "a ‹secret›");
    }

    #[test]
    fn a_mask_goes_with_its_blob_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let masks = Masks::new(root.clone());
        let kept = crate::blob::store(&root, b"kept").unwrap();
        masks.put(&kept, &hidden("kept-value")).unwrap();
        masks.put(&Digest([7; 32]), &hidden("gone1value")).unwrap();
        let young = Duration::from_secs(60);
        collect(&root, SystemTime::now(), young).unwrap();
        assert_eq!(names(&root).unwrap().len(), 2, "young ones stay");
        collect(&root, SystemTime::now() + 2 * young, young).unwrap();
        assert_eq!(masks.now().cover("my kept-value, gone1value".to_owned()), "my ‹secret›, gone1value");
    }
}
