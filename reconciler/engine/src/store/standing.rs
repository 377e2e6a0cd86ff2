//! What stands until somebody or something changes it: quarantine, pauses, the newest commit.

use std::collections::BTreeSet;

use holdfast_core::id::{AppName, CommitId, EnvironmentName};
use holdfast_core::protocol::Digest;
use holdfast_core::time::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::history::{moment, parsed, stored};
use super::worker::{Store, StoreError};

/// A release that failed and is not tried again while its rendered content stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Environment.
    pub environment: EnvironmentName,
    /// App.
    pub app: AppName,
    /// Digest of the app's rendered content on all hosts.
    pub digest: Digest,
    /// Release, for people.
    pub release: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// Automatic syncs of an environment, or of one app of it, are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Environment.
    pub environment: EnvironmentName,
    /// App; `None` for all of the environment.
    pub app: Option<AppName>,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

impl Store {
    /// Puts a release into quarantine. One that is there keeps its first reason.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn quarantine(&self, entry: Quarantine) -> Result<(), StoreError> {
        self.call(move |connection| {
            let Quarantine { environment, app, digest, release, reason, at } = entry;
            connection.execute(
                "INSERT OR IGNORE INTO quarantine (environment, app, digest, release, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
                params![environment.as_str(), app.as_str(), digest.to_string(), release, reason, stored(at)],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns what is in quarantine in one environment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn quarantined(&self, environment: &EnvironmentName) -> Result<Vec<Quarantine>, StoreError> {
        let environment = environment.clone();
        self.call(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT app, digest, release, reason, at FROM quarantine WHERE environment = ? ORDER BY app, at",
            )?;
            let rows = statement.query_map([environment.as_str()], |row| {
                let texts: (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((texts, row.get::<_, i64>(4)?))
            })?;
            rows.map(|row| {
                let ((app, digest, release, reason), at) = row?;
                let (app, digest) = (parsed("app", &app)?, parsed("digest", &digest)?);
                Ok(Quarantine { environment: environment.clone(), app, digest, release, reason, at: moment(at) })
            })
            .collect()
        })
        .await
    }

    /// Keeps that migrations succeeded, and forgets those that were taken back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_migrations(
        &self,
        done: Vec<String>,
        taken_back: Vec<String>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(move |connection| {
            for id in done {
                connection.execute("INSERT OR IGNORE INTO migrated (id, at) VALUES (?, ?)", params![id, stored(at)])?;
            }
            for id in taken_back {
                connection.execute("DELETE FROM migrated WHERE id = ?", params![id])?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the ids of all migrations that succeeded, in all environments.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn migrations(&self) -> Result<BTreeSet<String>, StoreError> {
        self.call(move |connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM migrated")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Takes an app's releases out of quarantine and returns how many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lift_quarantine(&self, environment: &EnvironmentName, app: &AppName) -> Result<usize, StoreError> {
        let (environment, app) = (environment.to_string(), app.to_string());
        self.call(move |connection| {
            Ok(connection.execute("DELETE FROM quarantine WHERE environment = ? AND app = ?", (environment, app))?)
        })
        .await
    }

    /// Stops automatic syncs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pause(&self, pause: Pause) -> Result<(), StoreError> {
        self.call(move |connection| {
            let Pause { environment, app, by, reason, at } = pause;
            let app = app.map(String::from).unwrap_or_default();
            connection.execute(
                "INSERT OR REPLACE INTO pauses (environment, app, by, reason, at) VALUES (?, ?, ?, ?, ?)",
                params![environment.as_str(), app, by, reason, stored(at)],
            )?;
            Ok(())
        })
        .await
    }

    /// Lets automatic syncs run again. Returns whether they were stopped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn resume(&self, environment: &EnvironmentName, app: Option<&AppName>) -> Result<bool, StoreError> {
        let key = (environment.to_string(), app.map(ToString::to_string).unwrap_or_default());
        self.call(move |connection| {
            Ok(connection.execute("DELETE FROM pauses WHERE environment = ? AND app = ?", key)? > 0)
        })
        .await
    }

    /// Returns all pauses.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.call(|connection| {
            let sql = "SELECT environment, app, by, reason, at FROM pauses ORDER BY environment, app";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let texts: (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((texts, row.get::<_, i64>(4)?))
            })?;
            rows.map(|row| {
                let ((environment, app, by, reason), at) = row?;
                let app = if app.is_empty() { None } else { Some(parsed("app", &app)?) };
                Ok(Pause { environment: parsed("environment", &environment)?, app, by, reason, at: moment(at) })
            })
            .collect()
        })
        .await
    }

    /// Writes down the newest commit seen for an environment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn see_commit(
        &self,
        environment: &EnvironmentName,
        commit: &CommitId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = (environment.to_string(), commit.to_string(), stored(at));
        self.call(move |connection| {
            connection.execute("INSERT OR REPLACE INTO commits (environment, seen, at) VALUES (?, ?, ?)", row)?;
            Ok(())
        })
        .await
    }

    /// Returns the newest commit seen for an environment, and when.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn seen_commit(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(CommitId, Timestamp)>, StoreError> {
        let environment = environment.to_string();
        self.call(move |connection| {
            let sql = "SELECT seen, at FROM commits WHERE environment = ?";
            let row: Option<(String, i64)> =
                connection.query_row(sql, [environment], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            row.map(|(commit, at)| Ok((parsed("commit", &commit)?, moment(at)))).transpose()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn quarantine_holds_by_content_and_keeps_its_first_reason() {
        let store = Store::in_memory().unwrap();
        let environment: EnvironmentName = "production".parse().unwrap();
        let entry = |app: &str, byte, reason: &str| Quarantine {
            environment: environment.clone(),
            app: app.parse().unwrap(),
            digest: Digest([byte; 32]),
            release: "v3".to_owned(),
            reason: reason.to_owned(),
            at: Timestamp(5),
        };
        store.quarantine(entry("nps", 1, "first")).await.unwrap();
        store.quarantine(entry("nps", 1, "second")).await.unwrap();
        store.quarantine(entry("nps", 2, "other content")).await.unwrap();
        let held = store.quarantined(&environment).await.unwrap();
        assert_eq!(held, [entry("nps", 1, "first"), entry("nps", 2, "other content")]);
        assert!(store.quarantined(&"staging".parse().unwrap()).await.unwrap().is_empty());
        assert_eq!(store.lift_quarantine(&environment, &"nps".parse().unwrap()).await.unwrap(), 2);
        assert!(store.quarantined(&environment).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn pauses_of_an_app_and_of_all_stand_apart() {
        let store = Store::in_memory().unwrap();
        let environment: EnvironmentName = "production".parse().unwrap();
        let app: AppName = "nps".parse().unwrap();
        let pause = |app: Option<&AppName>| Pause {
            environment: environment.clone(),
            app: app.cloned(),
            by: "ada".to_owned(),
            reason: "freeze".to_owned(),
            at: Timestamp(1),
        };
        store.pause(pause(None)).await.unwrap();
        store.pause(pause(Some(&app))).await.unwrap();
        assert_eq!(store.pauses().await.unwrap(), [pause(None), pause(Some(&app))]);
        assert!(store.resume(&environment, None).await.unwrap());
        assert!(!store.resume(&environment, None).await.unwrap());
        assert_eq!(store.pauses().await.unwrap(), [pause(Some(&app))]);
    }

    #[tokio::test]
    async fn commits_come_back() {
        let store = Store::in_memory().unwrap();
        let environment: EnvironmentName = "production".parse().unwrap();
        let commit = |digit: &str| digit.repeat(40).parse::<CommitId>().unwrap();
        assert_eq!(store.seen_commit(&environment).await.unwrap(), None);
        store.see_commit(&environment, &commit("a"), Timestamp(1)).await.unwrap();
        store.see_commit(&environment, &commit("b"), Timestamp(2)).await.unwrap();
        assert_eq!(store.seen_commit(&environment).await.unwrap(), Some((commit("b"), Timestamp(2))));
    }
}
