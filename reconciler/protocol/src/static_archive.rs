use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::StaticContent;

/// The most files of one archive of static files.
pub const MOST_STATIC_FILES: usize = 50_000;

/// The most bytes of one such archive's files together.
pub const MOST_STATIC_BYTES: u64 = 4 << 30;

/// The longest path in one, in bytes, and the most folders in each other.
const LONGEST: usize = 1024;
const DEEPEST: usize = 32;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedFile {
    /// Path below the folder that is served: plain names with `/` between them.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was changed last, in seconds since the Unix epoch: the same on every host, and so is what nginx makes of it.
    pub modified: u64,
}

/// Reads an archive of static files, hands each file out with its content, and returns how much it was.
///
/// Manager and host read with this one function, so that what one of them takes the other does not refuse.
///
/// # Guarantees
/// Only plain files come out, each path once, none below another file, and all of them below one folder: an archive with a link, a
/// device, an absolute path or `..` in it is refused, and so is one beyond the limits.
///
/// # Errors
/// What is wrong with the archive, or what `file` said.
///
/// # Source
/// POSIX.1-2017 pax, "ustar Interchange Format" and extended headers, and GNU tar's long names, as the `tar` crate reads them.
pub fn read_static_archive(
    archive: impl Read,
    file: &mut dyn FnMut(&ArchivedFile, &mut dyn Read) -> io::Result<()>,
) -> Result<StaticContent, String> {
    let mut archive = Checked { inner: archive, begun: false };
    let mut reader = tar::Archive::new(&mut archive);
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    let mut content = StaticContent { files: 0, bytes: 0 };
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => error.to_string(),
        _ => format!("it cannot be read as a tar archive: {error}"),
    };
    for entry in reader.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let name = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&name).chars().take(120).collect::<String>().escape_debug().to_string();
        let path = plain(&name).map_err(|why| format!("`{shown}` in it {why}"))?;
        if kind.is_dir() {
            if let Some(path) = path {
                claim(&mut seen, &path, true).map_err(|why| format!("`{shown}` in it {why}"))?;
            }
            continue;
        }
        if kind.is_symlink() || kind.is_hard_link() {
            return Err(format!(
                "`{shown}` in it is a link; make it with `tar --dereference --hard-dereference`, which puts the file itself there"
            ));
        }
        if !kind.is_file() && !kind.is_contiguous() {
            return Err(format!("`{shown}` in it is neither a file nor a folder"));
        }
        let Some(path) = path else { return Err(format!("`{shown}` in it is a file without a name")) };
        claim(&mut seen, &path, false).map_err(|why| format!("`{shown}` in it {why}"))?;
        let size = entry.size();
        content.files += 1;
        content.bytes = content.bytes.saturating_add(size);
        if content.files > MOST_STATIC_FILES as u64 || content.bytes > MOST_STATIC_BYTES {
            return Err(format!("it holds more than {MOST_STATIC_FILES} files or {} GiB", MOST_STATIC_BYTES >> 30));
        }
        let modified = entry.header().mtime().unwrap_or_default();
        let archived = ArchivedFile { path, size, modified };
        let mut text = (&mut entry).take(size);
        file(&archived, &mut text).map_err(|error| format!("{}: {error}", archived.path))?;
        // What was not wanted is read all the same: where it ends too early the archive is cut off.
        io::copy(&mut text, &mut io::sink()).map_err(broken)?;
        if text.limit() != 0 {
            return Err(format!("`{shown}` in it is cut off: {} of {size} bytes are missing", text.limit()));
        }
    }
    if content.files == 0 {
        return Err("it holds no file; make it with `tar -C dist -cf ARCHIVE .`".to_owned());
    }
    Ok(content)
}

/// Returns a path as plain names; `None` for the folder itself.
fn plain(name: &[u8]) -> Result<Option<String>, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "is no UTF-8")?;
    if name.starts_with('/') {
        return Err("is an absolute path");
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("leads out of the folder");
    }
    if parts.iter().any(|part| part.len() > 255 || part.chars().any(char::is_control)) {
        return Err("has a name that is longer than 255 bytes, or a control character");
    }
    if parts.len() > DEEPEST || name.len() > LONGEST {
        return Err("is too long or too deep");
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// Notes a path with the folders above it; `seen` says of each whether it is a folder.
fn claim(seen: &mut BTreeMap<String, bool>, path: &str, folder: bool) -> Result<(), &'static str> {
    for (at, _) in path.match_indices('/') {
        if !*seen.entry(path[..at].to_owned()).or_insert(true) {
            return Err("is below a file");
        }
    }
    match seen.insert(path.to_owned(), folder) {
        None => Ok(()),
        Some(true) if folder => Ok(()),
        Some(_) => Err("is there twice"),
    }
}

/// Refuses what is compressed, with a better word than that its headers make no sense.
struct Checked<R> {
    inner: R,
    begun: bool,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if !self.begun && read > 0 {
            self.begun = true;
            let compressed: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, b'7', b'z'], b"BZh"];
            if compressed.iter().any(|magic| buffer[..read].starts_with(magic)) {
                let why = "it is compressed; unpack it with `gunzip` or the like, and take its new SHA-256";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if buffer[..read].starts_with(b"PK") {
                let why = "it is a zip archive; make it with `tar -C dist -cf ARCHIVE .`";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An archive with these entries as they are, whatever a well-behaved program would write.
    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o4777);
            header.set_mtime(1_700_000_000);
            header.set_cksum();
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(content);
            out.resize(out.len().div_ceil(512) * 512, 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    fn names(archive: &[u8]) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        read_static_archive(archive, &mut |file, content| {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            found.push((file.path.clone(), text));
            Ok(())
        })?;
        Ok(found)
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const FOLDER: tar::EntryType = tar::EntryType::Directory;

    #[test]
    fn cap_33_files_come_out_with_plain_paths() {
        let made = archive(&[
            ("./", FOLDER, b""),
            ("./index.html", FILE, b"hi"),
            ("assets/app-1.js", FILE, b"js"),
            ("assets/", FOLDER, b""),
        ]);
        let pair = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        assert_eq!(names(&made).unwrap(), [pair("index.html", "hi"), pair("assets/app-1.js", "js")]);
        let content = read_static_archive(&*made, &mut |_, _| Ok(())).unwrap();
        assert_eq!(content, StaticContent { files: 2, bytes: 4 });
    }

    #[test]
    fn cap_33_what_could_leave_the_folder_is_refused() {
        use tar::EntryType;
        for (entry, why) in [
            (("/etc/passwd", FILE), "absolute"),
            (("../index.html", FILE), "leads out"),
            (("assets/../../x", FILE), "leads out"),
            (("assets/..", FOLDER), "leads out"),
            (("a\nb", FILE), "control character"),
            (("link", EntryType::Symlink), "is a link"),
            (("link", EntryType::Link), "is a link"),
            (("null", EntryType::Char), "neither a file"),
            (("pipe", EntryType::Fifo), "neither a file"),
            (("sparse", EntryType::GNUSparse), ""),
            ((".", FILE), "without a name"),
            (("index.html", FILE), "twice"),
            (("index.html/x", FILE), "below a file"),
        ] {
            let error = names(&archive(&[("index.html", FILE, b"hi"), (entry.0, entry.1, b"")])).unwrap_err();
            assert!(error.contains(why), "{entry:?}: {error}");
        }
        assert!(names(&archive(&[("a/b", FILE, b""), ("a", FILE, b"")])).unwrap_err().contains("twice"));
        let deep = "d/".repeat(40);
        assert!(names(&archive(&[(&format!("{deep}x"), FILE, b"")])).unwrap_err().contains("too deep"));
    }

    #[test]
    fn cap_33_what_is_no_archive_is_told_with_the_way_to_make_one() {
        assert!(names(b"").unwrap_err().contains("no file"));
        assert!(names(&archive(&[("dist/", FOLDER, b"")])).unwrap_err().contains("tar -C dist"));
        assert!(names(&[0x1f, 0x8b, 8, 0]).unwrap_err().contains("gunzip"));
        assert!(names(b"PK\x03\x04....").unwrap_err().contains("zip"));
        assert!(names(&[b'x'; 2048]).unwrap_err().contains("cannot be read"));
        let whole = archive(&[("index.html", FILE, &[b'a'; 700])]);
        assert!(names(&whole[..1000]).is_err());
    }

    proptest! {
        /// Whatever is in it: no panic, and what comes out is below the folder.
        #[test]
        fn cap_33_nothing_leaves_whatever_an_archive_says(
            entries in proptest::collection::vec(("[a./\\\\-]{1,12}", 0..8_u8, proptest::collection::vec(any::<u8>(), 0..600)), 1..6),
            cut in any::<prop::sample::Index>(),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, kind, content)| (name.as_str(), tar::EntryType::new(b'0' + kind), content.as_slice()))
                .collect();
            let mut made = archive(&entries);
            for (at, byte) in flips {
                let at = at.index(made.len());
                made[at] ^= byte;
            }
            made.truncate(cut.index(made.len()) + 1);
            let mut found = Vec::new();
            let _ = read_static_archive(&*made, &mut |file, _| {
                found.push(file.path.clone());
                Ok(())
            });
            for path in &found {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
            }
            let mut unique = found.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), found.len());
        }
    }
}
