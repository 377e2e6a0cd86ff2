//! The queue of notices: each for one place, kept until it is delivered or given up; and what holds and was told.

use holdfast_core::notice::{Condition, Notice, Told};
use holdfast_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::history::{moment, stored};
use super::worker::{Store, StoreError};

/// A notice that is to be delivered to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedNotice {
    /// Its number, rising.
    pub number: i64,
    /// What is told.
    pub notice: Notice,
    /// How often delivering it failed.
    pub failures: u32,
    /// When it is due.
    pub due: Timestamp,
}

/// How the notices of one place stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// The place.
    pub sink: String,
    /// How many wait.
    pub waiting: u32,
    /// How many were delivered, of those still remembered.
    pub delivered: u32,
    /// How many were given up, of those still remembered.
    pub given_up: u32,
    /// Why the last one that failed did; empty when none did.
    pub error: String,
}

/// What became of trying to deliver a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is there.
    Done,
    /// It failed; it is due again then.
    Again(Timestamp, String),
    /// It failed for the last time.
    GivenUp(String),
}

fn malformed(error: &serde_json::Error) -> StoreError {
    StoreError::Malformed { what: "notice", reason: error.to_string() }
}

fn enqueue(connection: &Connection, notice: &Notice, sinks: &[String]) -> Result<(), StoreError> {
    let body = serde_json::to_string(notice).map_err(|error| malformed(&error))?;
    for sink in sinks {
        connection.execute(
            "INSERT OR IGNORE INTO notices (id, sink, body, due, state, at) VALUES (?1, ?2, ?3, ?4, 'waiting', ?4)",
            params![notice.id, sink, body, stored(notice.at)],
        )?;
    }
    Ok(())
}

fn hold(connection: &Connection, condition: &Condition, sinks: &[String]) -> Result<(), StoreError> {
    let Condition { key, subject, notice } = condition;
    let known: Option<String> =
        connection.query_row("SELECT subject FROM conditions WHERE key = ?", [key], |row| row.get(0)).optional()?;
    if known.as_ref() == Some(subject) {
        return Ok(());
    }
    connection.execute(
        "INSERT OR REPLACE INTO conditions (key, subject, since) VALUES (?, ?, ?)",
        params![key, subject, stored(notice.at)],
    )?;
    let notice = Notice { id: format!("{key}/{}", notice.at.0), ..notice.clone() };
    enqueue(connection, &notice, sinks)
}

impl Store {
    /// Takes in what is to be told, in one transaction; `sinks` says to which places each notice goes. What holds already is not
    /// told again, and what is over may be told again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tell_notices(
        &self,
        told: Told,
        sinks: impl Fn(&Notice) -> Vec<String> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.call(move |connection| {
            let transaction = connection.transaction()?;
            for key in &told.over {
                let kept: Vec<&str> = told.holds.iter().map(|condition| condition.key.as_str()).collect();
                let mut held = Vec::new();
                {
                    let sql = "SELECT key FROM conditions WHERE key = ?1 OR (substr(?1, -1) = '/' AND substr(key, 1, length(?1)) = ?1)";
                    let mut statement = transaction.prepare_cached(sql)?;
                    for row in statement.query_map([key], |row| row.get::<_, String>(0))? {
                        held.push(row?);
                    }
                }
                for key in held.iter().filter(|key| !kept.contains(&key.as_str())) {
                    transaction.execute("DELETE FROM conditions WHERE key = ?", [key])?;
                }
            }
            for condition in &told.holds {
                hold(&transaction, condition, &sinks(&condition.notice))?;
            }
            for notice in &told.notices {
                enqueue(&transaction, notice, &sinks(notice))?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Returns the notice that is to be delivered next to a place: the one that is due first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn next_notice(&self, sink: &str) -> Result<Option<QueuedNotice>, StoreError> {
        let sink = sink.to_owned();
        self.call(move |connection| {
            let sql = "SELECT number, body, failures, due FROM notices WHERE sink = ? AND state = 'waiting'
                       ORDER BY due, number LIMIT 1";
            let row = connection
                .query_row(sql, [sink], |row| {
                    Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, i64>(3)?))
                })
                .optional()?;
            row.map(|(number, body, failures, due)| {
                let notice = serde_json::from_str(&body).map_err(|error| malformed(&error))?;
                Ok(QueuedNotice { number, notice, failures, due: moment(due) })
            })
            .transpose()
        })
        .await
    }

    /// Writes down what became of trying to deliver a notice.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn noticed(&self, number: i64, delivery: Delivery) -> Result<(), StoreError> {
        self.call(move |connection| {
            let (state, error, due, failed) = match delivery {
                Delivery::Done => ("delivered", String::new(), None, 0),
                Delivery::Again(at, error) => ("waiting", error, Some(stored(at)), 1),
                Delivery::GivenUp(error) => ("given_up", error, None, 1),
            };
            connection.execute(
                "UPDATE notices SET state = ?2, error = ?3, due = coalesce(?4, due), failures = failures + ?5 WHERE number = ?1",
                params![number, state, error, due, failed],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns how the notices of each place stand that has any.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn notice_states(&self) -> Result<Vec<SinkState>, StoreError> {
        self.call(|connection| {
            let sql = "SELECT sink, sum(state = 'waiting'), sum(state = 'delivered'), sum(state = 'given_up'),
                              coalesce((SELECT error FROM notices AS failed WHERE failed.sink = notices.sink
                                        AND error != '' ORDER BY number DESC LIMIT 1), '')
                       FROM notices GROUP BY sink ORDER BY sink";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(SinkState {
                    sink: row.get(0)?,
                    waiting: row.get(1)?,
                    delivered: row.get(2)?,
                    given_up: row.get(3)?,
                    error: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::notice::{of_drift, of_git};

    use super::*;

    fn to_both(_: &Notice) -> Vec<String> {
        vec!["chat".to_owned(), "mail".to_owned()]
    }

    #[tokio::test]
    async fn cap_79_what_holds_is_told_once_also_over_a_restart_and_again_when_it_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let prod = "prod".parse().unwrap();
        let drift = |changes, at| of_drift(&prod, "a", changes, Timestamp(at));
        let count = async |store: &Store| store.notice_states().await.unwrap().first().map_or(0, |one| one.waiting);
        {
            let store = Store::open(&path).unwrap();
            store.tell_notices(drift(2, 10), to_both).await.unwrap();
            store.tell_notices(drift(3, 20), to_both).await.unwrap();
            assert_eq!(count(&store).await, 1);
        }
        let store = Store::open(&path).unwrap();
        store.tell_notices(drift(2, 30), to_both).await.unwrap();
        assert_eq!(count(&store).await, 1, "a restart tells nothing twice");
        store.tell_notices(drift(0, 40), to_both).await.unwrap();
        store.tell_notices(drift(2, 50), to_both).await.unwrap();
        assert_eq!(count(&store).await, 2, "it came again");
        store.tell_notices(of_git(&prod, Some(("fetch", "no route")), Timestamp(60)), to_both).await.unwrap();
        assert_eq!(count(&store).await, 3);

        let first = store.next_notice("mail").await.unwrap().unwrap();
        assert_eq!((first.notice.id.as_str(), first.failures), ("prod/drift/10", 0));
        store.noticed(first.number, Delivery::Again(Timestamp(100), "refused".to_owned())).await.unwrap();
        let second = store.next_notice("mail").await.unwrap().unwrap();
        assert_eq!(second.notice.id, "prod/drift/50", "one that waits holds up no other");
        store.noticed(second.number, Delivery::Done).await.unwrap();
        store.noticed(first.number, Delivery::GivenUp("gone".to_owned())).await.unwrap();
        let states = store.notice_states().await.unwrap();
        assert_eq!((states[1].waiting, states[1].delivered, states[1].given_up), (1, 1, 1));
        assert_eq!(states[1].error, "gone");
        assert_eq!((states[0].sink.as_str(), states[0].waiting), ("chat", 3), "places stand apart");
    }
}
