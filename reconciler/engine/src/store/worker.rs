use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdfast_core::event::SyncEvent;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::history::{self, SyncId};
use super::schema::{self, SchemaVersion};

/// How long a write waits for another process's one.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was written by a newer Holdfast.
    #[error(
        "the store has format {}, this version knows up to {}; run the newer Holdfast, or restore the file saved before the upgrade",
        found.0,
        known.0
    )]
    Newer {
        /// The file's.
        found: SchemaVersion,
        /// Ours.
        known: SchemaVersion,
    },
    /// It is a SQLite file of another program.
    #[error("the file belongs to another program; name another store file")]
    Foreign,
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file or its folder cannot be made.
    #[error("the store {path} cannot be opened: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something stored cannot be read back.
    #[error("the store holds a {what} that cannot be read: {reason}")]
    Malformed {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The store's thread is gone.
    #[error("the store was closed")]
    Closed,
}

/// A handle on the store. Clones share one connection.
///
/// # Guarantees
/// What a method returned `Ok` for is on the disk (`synchronous=FULL`). Events are written in the background in the order they were
/// given; [`Store::flush`] waits for them.
#[derive(Debug, Clone)]
pub struct Store(mpsc::Sender<Message>);

enum Message {
    Call(Box<dyn FnOnce(&mut Connection) + Send>),
    Event(SyncId, Box<SyncEvent>),
}

impl Store {
    /// Opens a file, made and brought up to date where needed. Readable by its owner only.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Foreign`], [`StoreError::Open`] or [`StoreError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // Not opened where it is there: closing it would take the locks away that this process holds on it elsewhere (fcntl(2)).
        match fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(source)),
            Ok(_) | Err(_) => {}
        }
        Self::start(Connection::open(path)?)
    }

    /// Opens a store that is gone with its last handle, for tests and for runs without a state folder.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::start(Connection::open_in_memory()?)
    }

    fn start(mut connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY)?;
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection)?;
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread
            .spawn(move || work(connection, &receiver))
            .map_err(|source| StoreError::Open { path: PathBuf::from("(thread)"), source })?;
        Ok(Self(sender))
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let call = Box::new(move |connection: &mut Connection| drop(sender.send(work(connection))));
        self.0.send(Message::Call(call)).map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)?
    }

    /// Does a write without waiting for it, before all that is asked for later. One that fails is told to the log.
    pub(super) fn tell(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<(), StoreError> + Send + 'static,
    ) {
        let call = Box::new(move |connection: &mut Connection| {
            if let Err(error) = work(connection) {
                tracing::error!(%error, what, "this was not written down");
            }
        });
        if self.0.send(Message::Call(call)).is_err() {
            tracing::error!(what, "the store was closed");
        }
    }

    /// Takes an event of a sync in without waiting. One that cannot be written is told to the log and lost: watching never stops
    /// the work.
    pub fn record_event(&self, sync: SyncId, event: &SyncEvent) {
        if self.0.send(Message::Event(sync, Box::new(event.clone()))).is_err() {
            tracing::error!(%sync, "an event came after the store was closed");
        }
    }

    /// Waits until all events given so far are on the disk.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.call(|_| Ok(())).await
    }
}

/// Sets the log that is written ahead. Of those that do so to a new file at once, SQLite refuses all but one without waiting, since
/// each holds what the other needs.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let until = Instant::now() + BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return Ok(done?),
        }
    }
}

fn work(mut connection: Connection, messages: &mpsc::Receiver<Message>) {
    let mut waiting = None;
    while let Some(message) = waiting.take().or_else(|| messages.recv().ok()) {
        match message {
            Message::Call(call) => call(&mut connection),
            Message::Event(sync, event) => {
                // Those that are waiting already share its transaction: one sync of the disk for a burst.
                let mut batch = vec![(sync, event)];
                while batch.len() < 1000 {
                    match messages.try_recv() {
                        Ok(Message::Event(sync, event)) => batch.push((sync, event)),
                        Ok(call) => {
                            waiting = Some(call);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                if let Err(error) = history::write_events(&mut connection, &batch) {
                    tracing::error!(%error, events = batch.len(), "events were not written to the history");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_a_file_of_a_newer_version_and_leaves_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        Store::open(&path).unwrap().flush().await.unwrap();
        {
            let connection = Connection::open(&path).unwrap();
            connection.pragma_update(None, "user_version", SchemaVersion::CURRENT.0 + 1).unwrap();
        }
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Newer { .. }), "{error}");
        let connection = Connection::open(&path).unwrap();
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, SchemaVersion::CURRENT.0 + 1);
    }

    #[test]
    fn refuses_a_database_of_another_program_and_what_is_no_database() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(Store::open(&other), Err(StoreError::Foreign)));
        let text = folder.path().join("text");
        fs::write(&text, "not a database, but long enough to have a header of its own, one would think.........")
            .unwrap();
        assert!(matches!(Store::open(&text), Err(StoreError::Sqlite(_))));
    }

    /// As the first syncs of several environments do.
    #[test]
    fn many_may_open_a_new_file_at_once() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store.sqlite");
            let together = std::sync::Barrier::new(6);
            std::thread::scope(|scope| {
                let open = || {
                    together.wait();
                    Store::open(&path).map(drop)
                };
                let opened: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
                for one in opened {
                    one.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store.sqlite");
        let _store = Store::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
