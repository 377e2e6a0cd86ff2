use holdfast_core::time::Timestamp;
use rusqlite::params;

use super::chain;
use super::history::stored;
use super::worker::{Store, StoreError};

/// What of the history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Syncs of each environment that are kept whatever their age.
    pub keep: u32,
    /// Milliseconds for which all others are kept.
    pub keep_ms: u64,
}

impl Default for RetentionPolicy {
    /// 200 syncs of each environment, and everything of the last 90 days.
    fn default() -> Self {
        Self { keep: 200, keep_ms: 90 * 86_400_000 }
    }
}

/// How much was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Syncs, with their events.
    pub syncs: usize,
}

impl Store {
    /// Forgets old syncs with their events, and approvals and notices as old. Unfinished syncs, and the newest one of each environment, stay.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune(&self, policy: RetentionPolicy, now: Timestamp) -> Result<Pruned, StoreError> {
        self.call(move |connection| {
            let before = stored(Timestamp(now.0.saturating_sub(policy.keep_ms)));
            let transaction = connection.transaction()?;
            let forgotten = {
                let mut statement = transaction.prepare(
                    "DELETE FROM syncs WHERE ended IS NOT NULL AND ended < ?1 AND id NOT IN (
                         SELECT id FROM (
                             SELECT id, row_number() OVER (PARTITION BY environment ORDER BY id DESC) AS age FROM syncs
                         ) WHERE age <= ?2
                     ) RETURNING id",
                )?;
                let ids = statement.query_map(params![before, policy.keep.max(1)], |row| row.get::<_, i64>(0))?;
                ids.collect::<Result<Vec<i64>, _>>()?
            };
            let syncs = forgotten.len();
            chain::forgotten(&transaction, &forgotten)?;
            transaction.execute("DELETE FROM approvals WHERE at < ?", [before])?;
            transaction.execute("DELETE FROM notices WHERE at < ? AND state != 'waiting'", [before])?;
            transaction.commit()?;
            Ok(Pruned { syncs })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::event::SyncResult;

    use super::*;

    #[tokio::test]
    async fn cap_80_forgets_the_old_beyond_the_number_kept_and_never_the_unfinished() {
        let store = Store::in_memory().unwrap();
        let commit = "c".repeat(40).parse().unwrap();
        for (environment, count) in [("production", 5), ("staging", 1)] {
            let environment = environment.parse().unwrap();
            store.begin_sync(&environment, &commit, "unfinished", Timestamp(0)).await.unwrap();
            for at in 0..count {
                let id = store.begin_sync(&environment, &commit, "commit", Timestamp(at)).await.unwrap();
                store.end_sync(id, SyncResult::NoChange, "", Timestamp(at)).await.unwrap();
            }
        }
        let policy = RetentionPolicy { keep: 2, keep_ms: 10 };
        assert_eq!(store.prune(policy, Timestamp(11)).await.unwrap(), Pruned { syncs: 1 }, "only what ended before 1");
        assert_eq!(store.prune(policy, Timestamp(1000)).await.unwrap(), Pruned { syncs: 2 });
        let left: Vec<_> = store.syncs(None, 100).await.unwrap().into_iter().map(|sync| sync.started.0).collect();
        assert_eq!(left, [0, 0, 4, 3, 0]);
        assert_eq!(store.unfinished_syncs().await.unwrap().len(), 2);
    }
}
