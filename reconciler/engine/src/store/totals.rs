//! How often syncs and deploys ended in which way, ever: what the history forgets stays counted.

use holdfast_core::id::EnvironmentName;
use holdfast_core::protocol::Outcome;
use holdfast_core::report::Report;
use holdfast_core::time::Timestamp;
use holdfast_core::view::Total;
use rusqlite::{Connection, params};

use super::history::{moment, stored};
use super::worker::{Store, StoreError};

/// One end to be counted.
pub(super) struct Ended<'a> {
    pub(super) environment: &'a str,
    /// App and host of a deploy; both empty for a sync.
    pub(super) deploy: (&'a str, &'a str),
    pub(super) result: &'a str,
    pub(super) took_ms: u64,
    pub(super) at: Timestamp,
}

/// Counts one end.
pub(super) fn count(connection: &Connection, ended: &Ended<'_>) -> Result<(), StoreError> {
    let took = i64::try_from(ended.took_ms).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT INTO totals (environment, app, host, result, count, took_ms, last_at, last_took_ms)
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?5)
             ON CONFLICT (environment, app, host, result) DO UPDATE SET
                 count = count + 1, took_ms = took_ms + ?5, last_at = ?6, last_took_ms = ?5",
        )?
        .execute(params![ended.environment, ended.deploy.0, ended.deploy.1, ended.result, took, stored(ended.at)])?;
    Ok(())
}

/// Returns the word for how a deploy ended on a host; `None` for one that was not heard of again.
fn word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Done) => "done",
        Some(Outcome::Abandoned) => "abandoned",
        Some(Outcome::RolledBack) => "rolled_back",
        Some(Outcome::Stuck) => "stuck",
        None => "lost",
    }
}

impl Store {
    /// Counts the deploys of a sync, by app and host. A host on which nothing began is none of them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count_deploys(&self, environment: &EnvironmentName, report: &Report) -> Result<(), StoreError> {
        let mut ends = Vec::new();
        for (app, said) in &report.apps {
            for (host, ended) in &said.hosts {
                if ended.outcome.is_some() || ended.steps > 0 {
                    ends.push((app.to_string(), host.to_string(), word(ended.outcome), ended.took_ms));
                }
            }
        }
        let (environment, at) = (environment.to_string(), report.ended_at);
        self.call(move |connection| {
            let transaction = connection.transaction()?;
            for (app, host, result, took_ms) in ends {
                let deploy = (app.as_str(), host.as_str());
                count(&transaction, &Ended { environment: &environment, deploy, result, took_ms, at })?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Returns what was counted in an environment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn totals(&self, environment: &EnvironmentName) -> Result<Vec<Total>, StoreError> {
        let environment = environment.to_string();
        self.call(move |connection| {
            let sql =
                "SELECT app, host, result, count, took_ms, last_at, last_took_ms FROM totals WHERE environment = ?
                       ORDER BY app, host, result";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([environment], |row| {
                let (app, host): (String, String) = (row.get(0)?, row.get(1)?);
                let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
                Ok(Total {
                    deploy: (!app.is_empty()).then_some((app, host)),
                    result: row.get(2)?,
                    count: number(3)?,
                    took_ms: number(4)?,
                    last_at: moment(row.get(5)?),
                    last_took_ms: number(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::event::SyncResult;
    use holdfast_core::report::HostReport;

    use super::super::RetentionPolicy;
    use super::*;

    #[tokio::test]
    async fn cap_78_ends_stay_counted_when_the_history_forgets_them() {
        let store = Store::in_memory().unwrap();
        let environment: EnvironmentName = "prod".parse().unwrap();
        let commit = "a".repeat(40).parse().unwrap();
        for (started, ended) in [(1_000, 3_000), (5_000, 6_000)] {
            let id = store.begin_sync(&environment, &commit, "commit", Timestamp(started)).await.unwrap();
            store.end_sync(id, SyncResult::Synced, "", Timestamp(ended)).await.unwrap();
            // Only its first end counts.
            store.end_sync(id, SyncResult::Failed, "", Timestamp(ended + 1)).await.unwrap();
        }
        let mut report = Report::new();
        report.ended_at = Timestamp(6_000);
        let host = |outcome, took_ms| {
            let mut host = HostReport::default();
            (host.outcome, host.took_ms, host.steps) = (outcome, took_ms, 1);
            host
        };
        let hosts = [
            ("web1", host(Some(Outcome::Done), 700)),
            ("web2", host(Some(Outcome::RolledBack), 900)),
            ("web3", host(None, 100)),
            ("web4", HostReport::default()),
        ];
        let shop = report.apps.entry("shop".parse().unwrap()).or_default();
        shop.hosts = hosts.into_iter().map(|(name, host)| (name.parse().unwrap(), host)).collect();
        store.count_deploys(&environment, &report).await.unwrap();
        store.count_deploys(&environment, &report).await.unwrap();
        store.prune(RetentionPolicy { keep: 1, keep_ms: 0 }, Timestamp(1_000_000)).await.unwrap();
        let totals = store.totals(&environment).await.unwrap();
        let told = |total: &Total| {
            let deploy = total.deploy.as_ref().map(|(app, host)| format!("{app} {host}")).unwrap_or_default();
            (deploy, total.result.clone(), total.count, total.took_ms, total.last_took_ms)
        };
        let expected = [
            (String::new(), "synced".to_owned(), 2, 3_000, 1_000),
            ("shop web1".to_owned(), "done".to_owned(), 2, 1_400, 700),
            ("shop web2".to_owned(), "rolled_back".to_owned(), 2, 1_800, 900),
            ("shop web3".to_owned(), "lost".to_owned(), 2, 200, 100),
        ];
        assert_eq!(totals.iter().map(told).collect::<Vec<_>>(), expected);
        assert!(totals.iter().all(|total| total.last_at == Timestamp(6_000)), "{totals:?}");
    }
}
