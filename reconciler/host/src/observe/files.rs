//! Looks at files.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use holdfast_protocol::{Digest, FileLive, Observed};
use rustix::fs::OFlags;

use crate::accounts::Accounts;
use crate::digest;

/// The largest content that comes back, in bytes; it is for showing a difference to people.
pub const MAX_CONTENT: u64 = 256 * 1024;

/// The largest sum of contents in one report, in bytes, so that the report fits a frame.
pub const MAX_CONTENTS: u64 = 4 * 1024 * 1024;

/// The most digests that are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// A file changed more recently than this may change again without its time moving: the kernel's clock for file times ticks every
/// 4 ms or slower, and a network file system's may be coarser.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// Looks at files and remembers their digests as long as nothing about them changed.
#[derive(Debug, Default)]
pub(super) struct Files {
    remembered: BTreeMap<String, (Stamp, Digest)>,
}

/// What cannot stay the same when the content changes: a write moves the change time, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Looks at each file. `now` is the time since the Unix epoch by the clock of file times.
    pub(super) fn look(
        &mut self,
        queries: &BTreeMap<&str, Option<Digest>>,
        accounts: &Accounts,
        now: Duration,
    ) -> BTreeMap<String, Observed<FileLive>> {
        if self.remembered.len() > MAX_REMEMBERED {
            self.remembered.clear();
        }
        let mut budget = MAX_CONTENTS;
        let mut seen = BTreeMap::new();
        for (path, expected) in queries {
            let observed = match self.look_at(path, *expected, accounts, now, &mut budget) {
                Ok(live) => Observed::Seen(live),
                // A file in the place of a folder on the way says as certainly that nothing is there.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    Observed::Absent
                }
                Err(error) => Observed::Unknown(format!("look at file: {error}")),
            };
            if !matches!(observed, Observed::Seen(_)) {
                self.remembered.remove(*path);
            }
            seen.insert((*path).to_owned(), observed);
        }
        seen
    }

    fn look_at(
        &mut self,
        path: &str,
        expected: Option<Digest>,
        accounts: &Accounts,
        now: Duration,
        budget: &mut u64,
    ) -> io::Result<FileLive> {
        if !path.starts_with('/') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the path is not absolute"));
        }
        for _ in 0..ATTEMPTS {
            let meta = fs::symlink_metadata(path)?;
            if !meta.is_file() {
                return Ok(live(&meta, accounts, digest::NO_CONTENT, None));
            }
            let stamp = Stamp::of(&meta);
            let known = self.remembered.get(path).filter(|known| known.0 == stamp).map(|known| known.1);
            if let Some(known) = known.filter(|known| expected.is_none_or(|expected| expected == *known)) {
                return Ok(live(&meta, accounts, known, None));
            }
            let wants_content = expected.is_some() && meta.size() <= MAX_CONTENT.min(*budget);
            let Some((meta, digest, content)) = read(Path::new(path), wants_content)? else { continue };
            let stamp = Stamp::of(&meta);
            if stamp.settled(now) {
                self.remembered.insert(path.to_owned(), (stamp, digest));
            } else {
                self.remembered.remove(path);
            }
            let content = content.filter(|_| expected.is_some_and(|expected| expected != digest));
            *budget = budget.saturating_sub(content.as_ref().map_or(0, |content| content.len() as u64));
            return Ok(live(&meta, accounts, digest, content));
        }
        Err(io::Error::new(ErrorKind::Interrupted, "it changed each time it was read"))
    }
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    fn settled(&self, now: Duration) -> bool {
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        now.as_nanos().cast_signed() - changed > SETTLED_AFTER.as_nanos().cast_signed()
    }
}

/// A file as it was during one whole reading.
type Reading = (Metadata, Digest, Option<Vec<u8>>);

/// Reads a regular file, or returns nothing when it became another one, or changed, meanwhile.
fn read(path: &Path, wants_content: bool) -> io::Result<Option<Reading>> {
    // NONBLOCK: a fifo put in its place in this very moment must not hold us.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
        opened => opened?,
    };
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let (digest, size, content) = if wants_content {
        let mut content = Vec::with_capacity(before.size() as usize);
        (&file).take(MAX_CONTENT + 1).read_to_end(&mut content)?;
        (digest::of(&content), content.len() as u64, Some(content))
    } else {
        let (digest, size) = digest::of_reader(&file)?;
        (digest, size, None)
    };
    let after = File::metadata(&file)?;
    let whole = Stamp::of(&before) == Stamp::of(&after) && size == after.size();
    Ok(whole.then_some((after, digest, content)))
}

fn live(meta: &Metadata, accounts: &Accounts, digest: Digest, content: Option<Vec<u8>>) -> FileLive {
    FileLive {
        digest,
        mode: meta.mode() & 0o7777,
        owner: accounts.user(meta.uid()),
        group: accounts.group(meta.gid()),
        numbers: (meta.uid(), meta.gid()),
        size: meta.size(),
        regular: meta.is_file(),
        content,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn now() -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
    }

    /// Far enough after any change made in a test for it to be settled.
    fn later() -> Duration {
        now() + Duration::from_secs(60)
    }

    fn look(files: &mut Files, path: &Path, expected: Option<Digest>, now: Duration) -> Observed<FileLive> {
        let path = path.to_str().unwrap();
        let queries = BTreeMap::from([(path, expected)]);
        files.look(&queries, &Accounts::default(), now).remove(path).unwrap()
    }

    #[test]
    fn content_comes_back_only_where_it_differs_from_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"live").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut files = Files::default();
        for now in [Duration::ZERO, later(), later()] {
            let seen = |expected| look(&mut files, &path, expected, now).seen().unwrap().clone();
            let mut seen = seen;
            let differs = seen(Some(digest::of(b"desired")));
            assert_eq!(differs.content.as_deref(), Some(&b"live"[..]));
            assert_eq!(
                (differs.digest, differs.mode, differs.size, differs.regular),
                (digest::of(b"live"), 0o640, 4, true)
            );
            assert_eq!(seen(Some(digest::of(b"live"))).content, None);
            assert_eq!(seen(None).content, None);
        }
    }

    #[test]
    fn a_digest_is_remembered_only_while_nothing_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"one").unwrap();
        let mut files = Files::default();
        let digest_at = |files: &mut Files, now| look(files, &path, None, now).seen().unwrap().digest;
        assert_eq!(digest_at(&mut files, later()), digest::of(b"one"));
        assert_eq!(files.remembered.len(), 1);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();

        // The same size and the same time of modification: only inode and change time tell.
        fs::write(folder.path().join("b"), b"two").unwrap();
        fs::rename(folder.path().join("b"), &path).unwrap();
        File::open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(digest_at(&mut files, later()), digest::of(b"two"));
    }

    #[test]
    fn a_file_changed_just_now_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"one").unwrap();
        let mut files = Files::default();
        look(&mut files, &path, None, now());
        assert!(files.remembered.is_empty());
    }

    #[test]
    fn a_link_is_not_followed_and_no_regular_file_has_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), b"s").unwrap();
        let link = folder.path().join("link");
        symlink(folder.path().join("secret"), &link).unwrap();
        let expected = Some(digest::of(b"x"));
        for path in [link.as_path(), folder.path()] {
            let seen = look(&mut Files::default(), path, expected, later());
            let seen = seen.seen().unwrap();
            assert_eq!((seen.regular, seen.digest, &seen.content), (false, digest::NO_CONTENT, &None));
        }
    }

    #[test]
    fn what_is_certainly_not_there_is_absent_and_what_cannot_be_told_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let mut files = Files::default();
        assert_eq!(look(&mut files, &folder.path().join("no"), None, later()), Observed::Absent);
        assert_eq!(look(&mut files, &folder.path().join("no/deeper"), None, later()), Observed::Absent);
        assert_eq!(look(&mut files, &folder.path().join("file/below"), None, later()), Observed::Absent);
        assert!(matches!(look(&mut files, Path::new("relative"), None, later()), Observed::Unknown(_)));
        let round = folder.path().join("round");
        symlink(&round, &round).unwrap();
        assert!(matches!(look(&mut files, &round.join("x"), None, later()), Observed::Unknown(_)));
    }

    #[test]
    fn a_large_file_has_a_digest_but_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let content = vec![7; MAX_CONTENT as usize + 1];
        fs::write(&path, &content).unwrap();
        let seen = look(&mut Files::default(), &path, Some(digest::of(b"x")), later());
        let seen = seen.seen().unwrap();
        assert_eq!((seen.digest, &seen.content), (digest::of(&content), &None));
    }

    #[test]
    fn the_contents_of_one_report_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<String> =
            (0..20).map(|index| folder.path().join(format!("{index:02}")).to_str().unwrap().to_owned()).collect();
        for path in &paths {
            fs::write(path, vec![1; MAX_CONTENT as usize]).unwrap();
        }
        let queries = paths.iter().map(|path| (path.as_str(), Some(digest::of(b"x")))).collect();
        let seen = Files::default().look(&queries, &Accounts::default(), later());
        let total: usize = seen.values().filter_map(|file| file.seen()?.content.as_ref()).map(Vec::len).sum();
        assert_eq!(total as u64, MAX_CONTENTS);
        assert!(seen.values().all(|file| file.seen().unwrap().digest != digest::NO_CONTENT));
    }
}
