//! The history as a chain: who alters, removes or adds an entry breaks it.
//!
//! # Format
//! One row for each sync that ended, and one for each time that old syncs were forgotten. A row's hash is the SHA-256 of the hash
//! before it, its kind and its body, each with its length first. The body of a `sync` is its number and the digest of all that is
//! kept of it; that of a `forgotten` are the numbers of the syncs.
//!
//! # Limits
//! Who may write the file can also make all of the chain anew. That is seen by whoever kept a head of it elsewhere: metrics tell it.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::id::DigestWriter;
use rusqlite::{Connection, OptionalExtension, params};

use super::history::SyncId;
use super::worker::{Store, StoreError};

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries of the chain.
    pub entries: u64,
    /// Its last hash, in hexadecimal; empty when it has none.
    pub head: String,
    /// Syncs that ended before there was a chain: nothing can be said of these.
    pub before: u64,
    /// What does not fit; empty when nothing was altered.
    pub findings: Vec<String>,
}

/// Adds the end of a sync.
pub(super) fn ended(connection: &Connection, sync: i64) -> Result<(), StoreError> {
    if let Some(digest) = content(connection, sync)? {
        append(connection, "sync", &format!("{sync} {digest}"))?;
    }
    Ok(())
}

/// Adds that syncs were forgotten.
pub(super) fn forgotten(connection: &Connection, syncs: &[i64]) -> Result<(), StoreError> {
    if syncs.is_empty() {
        return Ok(());
    }
    let numbers: Vec<String> = syncs.iter().map(ToString::to_string).collect();
    append(connection, "forgotten", &numbers.join(" "))
}

fn append(connection: &Connection, kind: &str, body: &str) -> Result<(), StoreError> {
    let before = head(connection)?.map(|(_, hash)| hash).unwrap_or_default();
    let hash = linked(&before, kind, body);
    connection
        .prepare_cached("INSERT INTO chain (kind, body, hash) VALUES (?, ?, ?)")?
        .execute(params![kind, body, hash])?;
    Ok(())
}

fn linked(before: &str, kind: &str, body: &str) -> String {
    DigestWriter::new().field(before).field(kind).field(body).finish().to_string()
}

fn head(connection: &Connection) -> Result<Option<(u64, String)>, StoreError> {
    let sql = "SELECT number, hash FROM chain ORDER BY number DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)));
    Ok(row.optional()?)
}

/// Returns the digest of all that is kept of a sync; `None` when there is no such sync.
fn content(connection: &Connection, sync: i64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT environment, commit_id, cause, started, ended, result, reason FROM syncs WHERE id = ?";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([sync], |row| {
        let mut writer = DigestWriter::new().field(sync.to_le_bytes());
        for column in [0, 1, 2, 6] {
            writer = writer.field(row.get::<_, String>(column)?);
        }
        let ended: Option<i64> = row.get(4)?;
        let result: Option<String> = row.get(5)?;
        let started: i64 = row.get(3)?;
        Ok(writer
            .field(started.to_le_bytes())
            .field(ended.unwrap_or(-1).to_le_bytes())
            .field(result.unwrap_or_default()))
    });
    let Some(mut writer) = row.optional()? else { return Ok(None) };
    let mut events = connection.prepare_cached("SELECT format, body FROM events WHERE sync_id = ? ORDER BY seq")?;
    let mut rows = events.query([sync])?;
    while let Some(row) = rows.next()? {
        writer = writer.field(row.get::<_, i64>(0)?.to_le_bytes()).field(row.get::<_, String>(1)?);
    }
    Ok(Some(writer.finish().to_string()))
}

fn verified(connection: &Connection, known: Option<&str>) -> Result<Verified, StoreError> {
    let mut findings = Vec::new();
    let (mut before, mut count, mut found) = (String::new(), 0, known.is_none());
    let (mut digests, mut forgotten) = (BTreeMap::new(), BTreeSet::new());
    let mut statement = connection.prepare("SELECT number, kind, body, hash FROM chain ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, kind, body, hash): (i64, String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        count += 1;
        if number != count {
            findings.push(format!("entry {count} of the chain is missing"));
            count = number;
        }
        if linked(&before, &kind, &body) != hash {
            findings.push(format!("entry {number} of the chain does not follow the one before it"));
        }
        found |= known == Some(hash.as_str());
        before = hash;
        let mut words = body.split(' ');
        match (kind.as_str(), words.next().and_then(|id| id.parse::<i64>().ok()), words.next()) {
            ("sync", Some(id), Some(digest)) => drop(digests.insert(id, digest.to_owned())),
            ("forgotten", ..) => forgotten.extend(body.split(' ').filter_map(|id| id.parse::<i64>().ok())),
            _ => findings.push(format!("entry {number} of the chain says nothing that is known")),
        }
    }
    for (id, digest) in &digests {
        match content(connection, *id)? {
            Some(now) if now == *digest => {}
            Some(_) => findings.push(format!("sync {} or its events were altered after it ended", SyncId(*id))),
            None if forgotten.contains(id) => {}
            None => findings.push(format!("sync {} is gone, and retention did not take it", SyncId(*id))),
        }
    }
    let first = digests.keys().next().copied().unwrap_or(i64::MAX);
    let mut older = 0;
    let mut ended = connection.prepare("SELECT id FROM syncs WHERE ended IS NOT NULL ORDER BY id")?;
    for id in ended.query_map([], |row| row.get::<_, i64>(0))? {
        let id = id?;
        if id < first && !digests.contains_key(&id) {
            older += 1;
        } else if !digests.contains_key(&id) {
            findings.push(format!("sync {} is not of the chain: somebody added it", SyncId(id)));
        }
    }
    if let (false, Some(known)) = (found, known) {
        findings.push(format!("the chain never had the head {known}: it was cut, or made anew"));
    }
    Ok(Verified { entries: count.unsigned_abs(), head: before, before: older, findings })
}

impl Store {
    /// Returns how many entries the chain has, and its last hash in hexadecimal; `None` when it has none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn chain_head(&self) -> Result<Option<(u64, String)>, StoreError> {
        self.call(|connection| head(connection)).await
    }

    /// Looks whether the history is as it was written. `known` is a head of the chain that was kept elsewhere.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn verify(&self, known: Option<&str>) -> Result<Verified, StoreError> {
        let known = known.map(str::to_owned);
        self.call(move |connection| verified(connection, known.as_deref())).await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::event::{SyncEvent, SyncEventKind, SyncResult};
    use holdfast_core::time::Timestamp;

    use super::super::RetentionPolicy;
    use super::*;

    async fn filled(path: &std::path::Path) -> Store {
        let store = Store::open(path).unwrap();
        let environment = "prod".parse().unwrap();
        let commit = "a".repeat(40).parse().unwrap();
        for at in 1..=5 {
            let id = store.begin_sync(&environment, &commit, "commit", Timestamp(at)).await.unwrap();
            let kind = SyncEventKind::HostTrouble { app: None, host: "web1".parse().unwrap(), error: format!("e{at}") };
            store.record_event(id, &SyncEvent { at: Timestamp(at), kind });
            store.end_sync(id, SyncResult::Synced, "well", Timestamp(at + 1)).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn cap_80_whoever_alters_the_history_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        for (sql, said) in [
            ("UPDATE syncs SET reason = 'nothing happened' WHERE id = 2", "sync 2 or its events were altered"),
            (
                "UPDATE events SET body = replace(body, 'e3', 'x') WHERE sync_id = 3",
                "sync 3 or its events were altered",
            ),
            ("DELETE FROM events WHERE sync_id = 4", "sync 4 or its events were altered"),
            ("DELETE FROM syncs WHERE id = 5", "sync 5 is gone"),
            ("DELETE FROM chain WHERE number = 2", "entry 2 of the chain is missing"),
            (
                "UPDATE chain SET body = replace(body, '3 ', '9 ') WHERE number = 3",
                "entry 3 of the chain does not follow",
            ),
            (
                "INSERT INTO syncs SELECT 99, environment, commit_id, cause, started, ended, result, reason FROM syncs WHERE id = 1",
                "sync 99 is not of the chain",
            ),
        ] {
            let path = folder.path().join(format!("{}.sqlite", said.replace(' ', "-")));
            let store = filled(&path).await;
            let well = store.verify(None).await.unwrap();
            assert_eq!((well.entries, well.before, well.findings.as_slice()), (5, 0, [].as_slice()));
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let found = store.verify(None).await.unwrap().findings;
            assert!(found.iter().any(|finding| finding.starts_with(said)), "{sql}: {found:?}");
        }
    }

    #[tokio::test]
    async fn cap_80_forgetting_by_retention_is_no_alteration_and_a_new_chain_has_not_the_old_head() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(&folder.path().join("one")).await;
        let (entries, head) = store.chain_head().await.unwrap().unwrap();
        assert_eq!(entries, 5);
        let policy = RetentionPolicy { keep: 2, keep_ms: 0 };
        assert_eq!(store.prune(policy, Timestamp(1_000)).await.unwrap().syncs, 3);
        let after = store.verify(Some(&head)).await.unwrap();
        assert_eq!((after.entries, after.findings), (6, Vec::new()));
        // What was forgotten, put back with other words, is not what it was.
        let other = filled(&folder.path().join("two")).await;
        let id = other
            .begin_sync(&"prod".parse().unwrap(), &"b".repeat(40).parse().unwrap(), "x", Timestamp(9))
            .await
            .unwrap();
        other.end_sync(id, SyncResult::Synced, "", Timestamp(9)).await.unwrap();
        let head = after.head;
        let found = other.verify(Some(&head)).await.unwrap().findings;
        assert_eq!(found, [format!("the chain never had the head {head}: it was cut, or made anew")]);
    }
}
