use std::fmt;
use std::str::FromStr;

use holdfast_core::event::{SyncEvent, SyncResult};
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::chain;
use super::totals::{self, Ended};
use super::worker::{Store, StoreError};

/// The version of the JSON of stored events. Events of other versions are left out when reading.
const EVENT_FORMAT: u32 = 1;

/// The number of a sync, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SyncId(pub i64);

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a stored event, rising over all syncs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventSeq(pub i64);

/// One sync of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// Its number.
    pub id: SyncId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The commit.
    pub commit: CommitId,
    /// Why: `apply`, `commit`, `drift`, `rollback`, `resume`.
    pub cause: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs, or when the manager died in it.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub result: Option<SyncResult>,
    /// A line for people; may be empty.
    pub reason: String,
}

/// Turns a stored text back into a name; the store never holds a wrong one, but its file may be edited.
pub(super) fn parsed<T: FromStr>(what: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Malformed { what, reason: error.to_string() })
}

pub(super) fn moment(stored: i64) -> Timestamp {
    Timestamp(stored.unsigned_abs())
}

pub(super) fn stored(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

type RawSync = (i64, String, String, String, i64, Option<i64>, Option<String>, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<RawSync> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?))
}

fn record((id, environment, commit, cause, started, ended, result, reason): RawSync) -> Result<SyncRecord, StoreError> {
    let result = result.map(|word| serde_json::from_value(serde_json::Value::String(word)));
    Ok(SyncRecord {
        id: SyncId(id),
        environment: parsed("environment", &environment)?,
        commit: parsed("commit", &commit)?,
        cause,
        started: moment(started),
        ended: ended.map(moment),
        result: result.transpose().map_err(|error| malformed("sync result", &error))?,
        reason,
    })
}

fn malformed(what: &'static str, error: &serde_json::Error) -> StoreError {
    StoreError::Malformed { what, reason: error.to_string() }
}

const COLUMNS: &str = "SELECT id, environment, commit_id, cause, started, ended, result, reason FROM syncs";

fn select(connection: &Connection, rest: &str, with: impl rusqlite::Params) -> Result<Vec<SyncRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} {rest}"))?;
    let rows = statement.query_map(with, raw)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(record).collect()
}

pub(super) fn write_events(connection: &mut Connection, batch: &[(SyncId, Box<SyncEvent>)]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached("INSERT INTO events (sync_id, format, body) VALUES (?, ?, ?)")?;
        for (sync, event) in batch {
            let body = serde_json::to_string(event).map_err(|error| malformed("event", &error))?;
            insert.execute(params![sync.0, EVENT_FORMAT, body])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

impl Store {
    /// Writes down that a sync begins, before it does anything, and returns its number.
    ///
    /// # Errors
    /// The sync must not begin then: after a crash nobody would know of it.
    pub async fn begin_sync(
        &self,
        environment: &EnvironmentName,
        commit: &CommitId,
        cause: &str,
        at: Timestamp,
    ) -> Result<SyncId, StoreError> {
        let row = (environment.to_string(), commit.to_string(), cause.to_owned(), stored(at));
        self.call(move |connection| {
            connection
                .execute("INSERT INTO syncs (environment, commit_id, cause, started) VALUES (?, ?, ?, ?)", row)?;
            Ok(SyncId(connection.last_insert_rowid()))
        })
        .await
    }

    /// Writes down how a sync ended. A sync that has ended keeps its first result.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_sync(
        &self,
        id: SyncId,
        result: SyncResult,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let reason = reason.to_owned();
        self.call(move |connection| {
            let word = serde_json::to_value(result).map_err(|error| malformed("sync result", &error))?;
            let word = word.as_str().unwrap_or_default();
            let transaction = connection.transaction()?;
            let began: Option<(String, i64)> = transaction
                .query_row(
                    "UPDATE syncs SET ended = ?, result = ?, reason = ? WHERE id = ? AND ended IS NULL
                     RETURNING environment, started",
                    params![stored(at), word, reason, id.0],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            if let Some((environment, started)) = began {
                let took_ms = at.since_ms(moment(started));
                let ended = Ended { environment: &environment, deploy: ("", ""), result: word, took_ms, at };
                totals::count(&transaction, &ended)?;
                chain::ended(&transaction, id.0)?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Returns the syncs that began and did not end, oldest first: at a start, those a crash cut short.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unfinished_syncs(&self) -> Result<Vec<SyncRecord>, StoreError> {
        self.call(|connection| select(connection, "WHERE ended IS NULL ORDER BY id", [])).await
    }

    /// Returns the newest syncs, of one environment or of all, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn syncs(
        &self,
        environment: Option<&EnvironmentName>,
        limit: u32,
    ) -> Result<Vec<SyncRecord>, StoreError> {
        let environment = environment.map(ToString::to_string);
        self.call(move |connection| {
            let rest = "WHERE ?1 IS NULL OR environment = ?1 ORDER BY id DESC LIMIT ?2";
            select(connection, rest, params![environment, limit])
        })
        .await
    }

    /// Returns one sync.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sync(&self, id: SyncId) -> Result<Option<SyncRecord>, StoreError> {
        self.call(move |connection| {
            let row = connection.query_row(&format!("{COLUMNS} WHERE id = ?"), [id.0], raw).optional()?;
            row.map(record).transpose()
        })
        .await
    }

    /// Returns the events of a sync after a number, at most `limit`, oldest first. Events of a newer format are left out.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn events(
        &self,
        sync: SyncId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Vec<(EventSeq, SyncEvent)>, StoreError> {
        self.call(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, body FROM events WHERE sync_id = ? AND seq > ? AND format = ? ORDER BY seq LIMIT ?",
            )?;
            let rows = statement.query_map(params![sync.0, after.0, EVENT_FORMAT, limit], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
            rows.map(|row| {
                let (seq, body) = row?;
                let event = serde_json::from_str(&body).map_err(|error| malformed("event", &error))?;
                Ok((EventSeq(seq), event))
            })
            .collect()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::event::SyncEventKind;

    use super::*;

    fn commit() -> CommitId {
        "a".repeat(40).parse().unwrap()
    }

    fn event(seq: u64) -> SyncEvent {
        let kind = SyncEventKind::HostTrouble {
            app: None,
            host: "web-1".parse().unwrap(),
            error: format!("number {seq} 'quoted' \u{1f}"),
        };
        SyncEvent { at: Timestamp(seq), kind }
    }

    #[tokio::test]
    async fn cap_80_a_sync_cut_short_is_found_again_with_its_events() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let production = "production".parse().unwrap();
        let staging = "staging".parse().unwrap();
        let cut = {
            let store = Store::open(&path).unwrap();
            let done = store.begin_sync(&production, &commit(), "commit", Timestamp(10)).await.unwrap();
            store.end_sync(done, SyncResult::Synced, "", Timestamp(20)).await.unwrap();
            store.end_sync(done, SyncResult::Failed, "late", Timestamp(30)).await.unwrap();
            let cut = store.begin_sync(&staging, &commit(), "drift", Timestamp(40)).await.unwrap();
            for seq in 0..300 {
                store.record_event(cut, &event(seq));
            }
            store.flush().await.unwrap();
            cut
        };
        // Another process sees the same.
        let store = Store::open(&path).unwrap();
        let unfinished = store.unfinished_syncs().await.unwrap();
        assert_eq!(unfinished.iter().map(|sync| sync.id).collect::<Vec<_>>(), [cut]);
        assert_eq!((unfinished[0].environment.as_str(), unfinished[0].cause.as_str()), ("staging", "drift"));
        let events = store.events(cut, EventSeq::default(), 1000).await.unwrap();
        assert_eq!(
            events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(),
            (0..300).map(event).collect::<Vec<_>>()
        );
        assert_eq!(store.events(cut, events[297].0, 1000).await.unwrap().len(), 2);

        let all = store.syncs(None, 10).await.unwrap();
        assert_eq!(all.iter().map(|sync| sync.environment.as_str()).collect::<Vec<_>>(), ["staging", "production"]);
        let one = store.syncs(Some(&production), 10).await.unwrap();
        assert_eq!((one.len(), one[0].result, one[0].ended), (1, Some(SyncResult::Synced), Some(Timestamp(20))));
        assert_eq!(store.sync(cut).await.unwrap().unwrap(), unfinished[0]);
        assert_eq!(store.sync(SyncId(99)).await.unwrap(), None);
    }
}
