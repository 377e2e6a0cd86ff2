use std::fmt;
use std::fs;

use holdfast_core::id::DigestWriter;
use holdfast_core::time::Timestamp;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::history::{moment, stored};
use super::worker::{Store, StoreError};

/// The name of one holding of a lock: twelve hexadecimal digits. Whoever forces a lock must say which holding is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockId(pub String);

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process that holds a lock. All holders of one store are on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// For people: `daemon`, or `apply by ada`.
    pub who: String,
    /// Process id.
    pub pid: u32,
    /// When that process began, in clock ticks since the boot, so that a process id used again is not taken for it.
    pub started: u64,
    /// The boot, so that no process of an earlier one is.
    pub boot: String,
}

impl Holder {
    /// Returns this process.
    pub fn this_process(who: &str) -> Self {
        let pid = std::process::id();
        Self { who: who.to_owned(), pid, started: started(pid).unwrap_or_default(), boot: boot() }
    }

    /// Returns whether the process still runs.
    pub fn is_alive(&self) -> bool {
        self.boot == boot() && started(self.pid) == Some(self.started)
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// # Source
/// `proc(5)`: field 22 of `/proc/<pid>/stat`; field 2, the name in parentheses, may hold spaces and parentheses itself.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What is locked, such as `environment/production`.
    pub name: String,
    /// This holding.
    pub id: LockId,
    /// Who holds it.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
}

/// What came of asking for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOutcome {
    /// It is ours. The former holding, when its holder had died in it.
    Acquired(Lock, Option<Lock>),
    /// A living process has it.
    Held(Lock),
}

fn read(row: &Row<'_>) -> rusqlite::Result<Lock> {
    Ok(Lock {
        name: row.get(0)?,
        id: LockId(row.get(1)?),
        holder: Holder {
            who: row.get(2)?,
            pid: row.get(3)?,
            started: row.get::<_, i64>(4)?.unsigned_abs(),
            boot: row.get(5)?,
        },
        since: moment(row.get(6)?),
    })
}

const COLUMNS: &str = "SELECT name, id, who, pid, started, boot, since FROM locks";

impl Store {
    /// Asks for a lock. One whose holder is dead, by `is_alive`, is taken over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn acquire_lock(
        &self,
        name: &str,
        holder: Holder,
        at: Timestamp,
        is_alive: impl Fn(&Holder) -> bool + Send + 'static,
    ) -> Result<LockOutcome, StoreError> {
        let name = name.to_owned();
        self.call(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let former = transaction.query_row(&format!("{COLUMNS} WHERE name = ?"), [&name], read).optional()?;
            if let Some(former) = &former
                && is_alive(&former.holder)
            {
                return Ok(LockOutcome::Held(former.clone()));
            }
            let id = DigestWriter::new()
                .field(&name)
                .field(&holder.boot)
                .field(holder.pid.to_le_bytes())
                .field(holder.started.to_le_bytes())
                .field(at.0.to_le_bytes())
                .field(former.as_ref().map(|lock| lock.id.0.clone()).unwrap_or_default())
                .finish();
            let lock = Lock { name, id: LockId(id.short()), holder, since: at };
            transaction.execute(
                "INSERT OR REPLACE INTO locks (name, id, who, pid, started, boot, since) VALUES (?, ?, ?, ?, ?, ?, ?)",
                params![
                    lock.name,
                    lock.id.0,
                    lock.holder.who,
                    lock.holder.pid,
                    i64::try_from(lock.holder.started).unwrap_or(i64::MAX),
                    lock.holder.boot,
                    stored(at)
                ],
            )?;
            transaction.commit()?;
            Ok(LockOutcome::Acquired(lock, former))
        })
        .await
    }

    /// Gives a lock back, or forces one open: both name the holding. Returns it, or `None` when there is no such holding any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unlock(&self, id: &LockId) -> Result<Option<Lock>, StoreError> {
        let id = id.0.clone();
        self.call(move |connection| {
            let sql = "DELETE FROM locks WHERE id = ? RETURNING name, id, who, pid, started, boot, since";
            Ok(connection.query_row(sql, [id], read).optional()?)
        })
        .await
    }

    /// Returns all held locks.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn locks(&self) -> Result<Vec<Lock>, StoreError> {
        self.call(|connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?;
            Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(pid: u32) -> Holder {
        Holder { pid, ..Holder::this_process("apply by ada") }
    }

    #[test]
    fn knows_the_living_from_the_dead() {
        let this = Holder::this_process("test");
        assert!(this.is_alive());
        assert!(!Holder { boot: "another".to_owned(), ..this.clone() }.is_alive());
        assert!(!Holder { started: this.started + 1, ..this.clone() }.is_alive(), "a process id used again");
        assert!(!Holder { pid: u32::MAX, ..this }.is_alive());
    }

    #[tokio::test]
    async fn a_living_holder_keeps_it_and_a_dead_one_loses_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (one, two) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let name = "environment/production";
        let first = one.acquire_lock(name, other(1), Timestamp(1), |_| true).await.unwrap();
        let LockOutcome::Acquired(first, None) = first else { panic!("{first:?}") };
        let held = two.acquire_lock(name, other(2), Timestamp(2), |_| true).await.unwrap();
        assert_eq!(held, LockOutcome::Held(first.clone()));
        let taken = two.acquire_lock(name, other(2), Timestamp(3), |holder| holder.pid != 1).await.unwrap();
        let LockOutcome::Acquired(second, Some(former)) = taken else { panic!("{taken:?}") };
        assert_eq!(former, first);
        // The first holder wakes up and gives back what is no longer its own: nothing happens.
        assert_eq!(one.unlock(&first.id).await.unwrap(), None);
        assert_eq!(one.locks().await.unwrap(), std::slice::from_ref(&second));
        assert_eq!(one.unlock(&second.id).await.unwrap(), Some(second));
        assert!(two.locks().await.unwrap().is_empty());
    }
}
