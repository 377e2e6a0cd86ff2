//! A Redis in a container: saved by itself, fetched whole, and put back so that it is read also where an append-only file is on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_protocol::{BackupRecord, BackupSource};

use super::class::Class;
use super::exchange::{Exchange, Move};
use super::{BackupError, at, containers, crc64, fail, stamp};
use crate::exec::Call;
use crate::paths::sync_folder;
use crate::redis_cli::{self, line, told};

/// What the keys of all databases are counted as.
pub(super) const KEYS: &str = "keys";
/// What the keys among them that expire are counted as.
const EXPIRES: &str = "expires";

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(30);
/// Between two looks at a server that works.
const LOOK: Duration = Duration::from_millis(100);

/// Ends what a dump holds.
const END: u8 = 0xff;

/// A server and how to speak to it.
struct Server<'a> {
    class: &'a Class,
    container: String,
    login: Vec<u8>,
}

impl<'a> Server<'a> {
    /// Finds the container that runs, and the password.
    fn find(class: &'a Class) -> Result<Self, BackupError> {
        let BackupSource::Redis { project, service, password_file } = &class.spec.source else {
            return fail("this class saves no Redis");
        };
        let container = containers::one(class, project, service)?;
        let mut login = Vec::new();
        if let Some(path) = password_file {
            login = redis_cli::login(fs::read(path).map_err(at(Path::new(path)))?);
        }
        Ok(Self { class, container, login })
    }

    fn call(&self, words: &[&str], reads: bool) -> Result<Call, BackupError> {
        let mut args = vec!["exec"];
        args.extend(reads.then_some("--interactive"));
        args.push(&self.container);
        args.extend(words);
        Ok(Call::new(self.class.program("docker")?, args).deadline(QUESTION))
    }

    /// Says one command and returns what the server answers, a line each.
    ///
    /// The password goes through standard input: it is in no argument and no environment. `redis-cli` ends with 0 also when the server
    /// answers with an error, so the answer itself is looked at.
    fn say(&self, command: &[&[u8]]) -> Result<Vec<String>, BackupError> {
        let mut input = self.login.clone();
        input.extend(line(command));
        let output = self.call(&["redis-cli", "--no-auth-warning"], true)?.stdin(input).run()?;
        redis_cli::answer(&output.text(), !self.login.is_empty()).map_err(BackupError)
    }

    fn number(&self, command: &[&[u8]]) -> Result<u64, BackupError> {
        let lines = self.say(command)?;
        let first = lines.first().map(String::as_str);
        first.and_then(|text| text.parse().ok()).ok_or_else(|| BackupError(format!("Redis said {}", told(first))))
    }

    /// Returns a setting; empty where the server has none of that name.
    fn setting(&self, name: &str) -> Result<String, BackupError> {
        match self.say(&[b"CONFIG", b"GET", name.as_bytes()]) {
            Ok(lines) => Ok(lines.get(1).cloned().unwrap_or_default()),
            Err(error) if error.to_string().contains("said nothing") => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns a section of `INFO` by its names.
    fn info(&self, section: &str) -> Result<BTreeMap<String, String>, BackupError> {
        let lines = self.say(&[b"INFO", section.as_bytes()])?;
        let pair = |line: &String| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(lines.iter().filter_map(pair).collect())
    }

    /// Lets the server write all it has to its dump, and waits for that.
    fn save(&self) -> Result<(), BackupError> {
        let end = Instant::now() + self.class.timeout();
        let wait = || {
            std::thread::sleep(LOOK);
            if Instant::now() < end { Ok(()) } else { fail("Redis did not end its save in time") }
        };
        // The time of the last save has a resolution of a second: the next one must be a later second to be told from it.
        let before = loop {
            let last = self.number(&[b"LASTSAVE"])?;
            // It does one at a time: a save of its own, or a rewrite of its append-only file.
            if !works(&self.info("persistence")?) && self.number(&[b"TIME"])? > last {
                match self.say(&[b"BGSAVE", b"SCHEDULE"]) {
                    Ok(_) => break last,
                    // One of its own has begun since it was asked.
                    Err(error) if error.to_string().contains("in progress") => {}
                    Err(error) => return Err(error),
                }
            }
            wait()?;
        };
        loop {
            // Asked in this order: what is over by the first answer is counted in the second.
            let info = self.info("persistence")?;
            if self.number(&[b"LASTSAVE"])? > before {
                return Ok(());
            }
            if !works(&info) && info.get("rdb_last_bgsave_status").is_some_and(|status| status == "err") {
                return fail("Redis could not save: its own log says why");
            }
            wait()?;
        }
    }

    /// Returns how many keys there are in all databases.
    fn keys(&self) -> Result<u64, BackupError> {
        let databases = self.info("keyspace")?;
        let keys = |value: &String| {
            let first = value.split(',').next()?;
            first.strip_prefix("keys=")?.parse::<u64>().ok()
        };
        Ok(databases.iter().filter(|(name, _)| name.starts_with("db")).filter_map(|(_, value)| keys(value)).sum())
    }
}

/// Returns whether a child of the server writes a file, or is about to.
fn works(info: &BTreeMap<String, String>) -> bool {
    const WORDS: [&str; 3] = ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"];
    WORDS.iter().any(|word| info.get(*word).is_some_and(|value| value == "1"))
}

/// Saves, and fetches the dump.
pub(super) fn dump(class: &Class, into: File) -> Result<(), BackupError> {
    let server = Server::find(class)?;
    server.save()?;
    let path = format!("{}/{}", server.setting("dir")?, server.setting("dbfilename")?);
    // Held open it stays whole, whatever the next save puts in its place.
    server.call(&["cat", &path], false)?.deadline(class.timeout()).stdout_file(into).run()?;
    Ok(())
}

/// Reads a dump to its end, by its checksum and by Redis' own check where the image has it, and returns the keys in it.
pub(super) fn count(class: &Class, mut dump: File) -> Result<BTreeMap<String, u64>, BackupError> {
    checked(&dump)?;
    dump.seek(SeekFrom::Start(0)).map_err(|error| BackupError(format!("the dump: {error}")))?;
    let server = Server::find(class)?;
    let call = server.call(&["redis-check-rdb", "/dev/stdin"], true)?.stdin_file(dump).deadline(class.timeout());
    let output = call.output()?;
    match output.code {
        0 => Ok(counted(&output.text())),
        // The words of docker and runc for a program that is not in the image.
        126 | 127 => Ok(BTreeMap::new()),
        code => fail(format!("the dump cannot be read: redis-check-rdb exited with {code}: {}", output.told())),
    }
}

/// Returns what `redis-check-rdb` counted: `[info] 12 keys read`.
fn counted(text: &str) -> BTreeMap<String, u64> {
    let number = |end: &str| {
        text.lines().find_map(|line| line.trim().strip_suffix(end)?.rsplit(' ').next()?.parse::<u64>().ok())
    };
    let both = [(KEYS, number(" keys read")), (EXPIRES, number(" expires"))];
    both.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?))).collect()
}

/// Checks the beginning and the checksum of a dump.
///
/// # Source
/// Redis RDB format: `REDIS`, four digits of the version, what it holds, and 0xff; since version 5 the last eight bytes are a CRC-64 of all before them, or
/// zero where `rdbchecksum` is off.
fn checked(dump: &File) -> Result<(), BackupError> {
    let failed = |error: std::io::Error| BackupError(format!("the dump: {error}"));
    let size = dump.metadata().map_err(failed)?.len();
    let mut reader = BufReader::new(dump);
    let mut start = [0; 9];
    if size < 18 || reader.read_exact(&mut start).is_err() || &start[..5] != b"REDIS" {
        return fail("the dump cannot be read: it is no dump of Redis");
    }
    let mut sum = crc64::update(0, &start);
    let mut left = size - 17;
    let mut last = 0;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = reader.read(&mut buffer[..most]).map_err(failed)?;
        if count == 0 {
            return fail("the dump cannot be read: it ends before its time");
        }
        sum = crc64::update(sum, &buffer[..count]);
        left -= count as u64;
        last = buffer[count - 1];
    }
    // Of a dump that lacks its last byte one in 256 has a checksum that fits: this one begins with 0 and ends as it is.
    if last != END {
        return fail("the dump cannot be read: it does not end as a dump does, so it was cut off or changed");
    }
    let mut end = [0; 8];
    reader.read_exact(&mut end).map_err(failed)?;
    match u64::from_le_bytes(end) {
        0 => Ok(()),
        wanted if wanted == sum => Ok(()),
        _ => fail("the dump cannot be read: its checksum is wrong, so it was cut off or changed"),
    }
}

/// Puts a dump in the place of what is live: the server is stopped, what it had is put aside, and it starts with the dump.
///
/// With an append-only file the server reads that and never the dump. So the dump becomes the base of a new one, which is what a
/// rewrite of the append-only file makes of the same content.
///
/// # Source
/// Redis 7, `src/aof.c`: a manifest names the base, which may be a dump, and what follows it. Before version 7 the one append-only
/// file may begin with a dump.
pub(super) fn restore(class: &Class, record: &BackupRecord) -> Result<(Vec<String>, u64), BackupError> {
    let server = Server::find(class)?;
    let mut dump = class.open_proven(record)?;
    checked(&dump)?;
    dump.seek(SeekFrom::Start(0)).map_err(|error| BackupError(format!("the dump: {error}")))?;
    let folder = on_host(&server, &server.setting("dir")?)?;
    let name = server.setting("dbfilename")?;
    let appends = server.setting("appendonly")? == "yes";
    let append_name = server.setting("appendfilename")?;
    let append_folder = server.setting("appenddirname")?;
    for name in [&name, &append_name, &append_folder] {
        if name.contains('/') || name == ".." || name == "." {
            return fail(format!("Redis keeps a file named {}", told(Some(name))));
        }
    }
    let owner = fs::metadata(&folder).map_err(at(&folder))?;
    let owner = (owner.uid(), owner.gid());
    // Beside what is live, so that it takes its place by a rename.
    let fresh = folder.join(format!(".holdfast-restore-{}", class.short()));
    clear(&fresh)?;
    fs::create_dir(&fresh).map_err(at(&fresh))?;
    let put = |path: &Path, from: &mut dyn Read| -> Result<(), BackupError> {
        let mut file = File::create_new(path).map_err(at(path))?;
        std::io::copy(from, &mut file).and_then(|_| file.sync_all()).map_err(at(path))?;
        chown(path, Some(owner.0), Some(owner.1)).map_err(at(path))
    };
    let (new, live) = if !appends {
        put(&fresh.join(&name), &mut dump)?;
        (fresh.join(&name), folder.join(&name))
    } else if append_folder.is_empty() {
        put(&fresh.join(&append_name), &mut dump)?;
        (fresh.join(&append_name), folder.join(&append_name))
    } else {
        let made = fresh.join(&append_folder);
        fs::create_dir(&made).map_err(at(&made))?;
        chown(&made, Some(owner.0), Some(owner.1)).map_err(at(&made))?;
        let base = format!("{append_name}.1.base.rdb");
        put(&made.join(&base), &mut dump)?;
        let manifest = format!("file {base} seq 1 type b\n");
        put(&made.join(format!("{append_name}.manifest")), &mut manifest.as_bytes())?;
        sync_folder(&made).map_err(at(&made))?;
        (made, folder.join(&append_folder))
    };
    let mut exchange = match Exchange::begin(class, std::slice::from_ref(&server.container)) {
        Ok(exchange) => exchange,
        Err(error) => {
            clear(&fresh)?;
            return Err(error);
        }
    };
    let stamp = stamp::stamp(stamp::now_ms());
    // The dump of before goes aside too: a server that stops writes one, and nobody should take it for the restored one.
    let mut held = vec![live.clone(), folder.join(&name)];
    held.dedup();
    held.retain(|path| path.exists());
    let old = |path: &PathBuf| PathBuf::from(format!("{}.before-{stamp}", path.display()));
    let aside: Vec<Move> = held.iter().map(|path| (path.clone(), old(path))).collect();
    let before = aside.iter().map(|(_, old)| old.display().to_string()).collect();
    let proven = exchange
        .moves(aside, vec![(new, live)])
        .and_then(|()| exchange.start_container(&server.container))
        .and_then(|()| came_up(&server, record));
    let counted = match proven {
        Ok(counted) => counted,
        Err(error) => {
            let failed = exchange.failed(error);
            clear(&fresh)?;
            return failed;
        }
    };
    clear(&fresh)?;
    exchange.end()?;
    Ok((before, counted))
}

/// Waits until the server has read what it was given, and counts it.
fn came_up(server: &Server<'_>, record: &BackupRecord) -> Result<u64, BackupError> {
    let end = Instant::now() + server.class.timeout();
    loop {
        let info = server.info("persistence");
        if let Ok(info) = &info
            && info.get("loading").is_some_and(|loading| loading == "0")
        {
            break;
        }
        if Instant::now() >= end {
            let why = info.err().map_or_else(String::new, |error| format!(": {error}"));
            return fail(format!("Redis did not come up with the restored dump{why}"));
        }
        std::thread::sleep(LOOK);
    }
    let found = server.keys()?;
    if let Some(wanted) = record.rows.get(KEYS) {
        // A key that has expired since is not read, and a full cache makes room at once. More is none of its doing: clients are there.
        let evicted = server.info("stats")?.get("evicted_keys").and_then(|count| count.parse().ok()).unwrap_or(0_u64);
        let gone = record.rows.get(EXPIRES).copied().unwrap_or(0).saturating_add(evicted);
        if found < wanted.saturating_sub(gone) {
            return fail(format!("Redis has {found} keys after the restore, and the backup has {wanted}"));
        }
    }
    Ok(found)
}

/// Returns where a folder of the container lies on the host.
fn on_host(server: &Server<'_>, folder: &str) -> Result<PathBuf, BackupError> {
    let args = ["inspect", "--format", "{{json .Mounts}}", &server.container];
    let text = Call::new(server.class.program("docker")?, args).run()?.text();
    let mounts: Vec<serde_json::Value> =
        serde_json::from_str(text.trim()).map_err(|error| BackupError(format!("docker inspect: {error}")))?;
    let place = |mount: &serde_json::Value| {
        let below = Path::new(folder).strip_prefix(mount["Destination"].as_str()?).ok()?;
        Some((below.components().count(), Path::new(mount["Source"].as_str()?).join(below)))
    };
    // The mount nearest to it.
    match mounts.iter().filter_map(place).min() {
        Some((_, path)) if !path.as_os_str().is_empty() => Ok(path),
        _ => fail(format!("{folder} of the container lies in no volume: what is there goes with the container")),
    }
}

fn clear(folder: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn cap_67_every_byte_of_a_password_is_quoted() {
        assert_eq!(line(&[b"AUTH", b"a\"\n$"]), b"\"\\x41\\x55\\x54\\x48\" \"\\x61\\x22\\x0a\\x24\" \n");
    }

    #[test]
    fn cap_67_a_dump_that_is_cut_off_or_changed_counts_for_nothing() {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file
        };
        let mut good = b"REDIS0011\xfa\x09redis-ver\x057.0.0\xff".to_vec();
        good.extend(crc64::update(0, &good.clone()).to_le_bytes());
        checked(&file(&good)).unwrap();
        let mut changed = good.clone();
        changed[12] ^= 1;
        for bad in [&good[..good.len() - 1], &changed, b"NOAUTH Authentication required.\n", b"", b"REDIS0011"] {
            assert!(checked(&file(bad)).is_err(), "{bad:?}");
        }
        let mut unchecked = good.clone();
        let end = unchecked.len() - 8;
        unchecked[end..].fill(0);
        checked(&file(&unchecked)).unwrap();
    }

    #[test]
    fn cap_67_a_dump_without_its_last_byte_is_seen_also_when_the_checksum_fits() {
        // The checksum of all before the end has 0xff as its lowest byte, so that the end takes that away and adds nothing.
        let (body, sum) = (0..=u32::MAX)
            .map(|number| [b"REDIS0011".as_slice(), &number.to_be_bytes()].concat())
            .map(|body| (crc64::update(0, &body), body))
            .find_map(|(sum, body)| (sum.to_le_bytes()[0] == END).then_some((body, sum)))
            .unwrap();
        let whole = [body.as_slice(), &[END], &(sum >> 8).to_le_bytes()].concat();
        let cut = &whole[..whole.len() - 1];
        assert_eq!(cut[cut.len() - 8..], sum.to_le_bytes(), "the checksum of what is left fits");
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file
        };
        checked(&file(&whole)).unwrap();
        assert!(checked(&file(cut)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn cap_67_whatever_is_in_a_dump_one_changed_byte_or_a_missing_end_is_seen(
            // With the byte that ends a dump among them, what is left may be a whole one.
            content in proptest::collection::vec(0..END, 0..200),
            place in proptest::num::usize::ANY,
            change in 1_u8..=255,
            cut in 1_usize..16,
        ) {
            let file = |bytes: &[u8]| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(bytes).unwrap();
                file.seek(SeekFrom::Start(0)).unwrap();
                file
            };
            let mut good = [b"REDIS0011".as_slice(), &content, b"\xff"].concat();
            good.extend(crc64::update(0, &good.clone()).to_le_bytes());
            proptest::prop_assert!(checked(&file(&good)).is_ok());
            let mut changed = good.clone();
            changed[place % good.len()] ^= change;
            // Eight zeros at the end say that there is no checksum.
            proptest::prop_assume!(changed[changed.len() - 8..] != [0; 8]);
            proptest::prop_assert!(checked(&file(&changed)).is_err());
            let short = &good[..good.len() - cut.min(good.len())];
            proptest::prop_assume!(short.len() < 8 || short[short.len() - 8..] != [0; 8]);
            proptest::prop_assert!(checked(&file(short)).is_err());
        }
    }

    #[test]
    fn cap_67_keys_are_counted_as_redis_counts_them() {
        let text = "[offset 0] Checking RDB file /dev/stdin\n[offset 301] \\o/ RDB looks OK! \\o/\n[info] 12 keys read\n\
                    [info] 3 expires\n[info] 1 already expired\n";
        assert_eq!(counted(text), [(KEYS.to_owned(), 12), (EXPIRES.to_owned(), 3)].into());
        assert_eq!(counted(""), BTreeMap::new());
    }
}
