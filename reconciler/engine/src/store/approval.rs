//! Who agreed to what, which plan waits for it, and what was released.

use std::collections::BTreeSet;

use holdfast_core::approval::{Agreement, Proposal};
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::time::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::history::{moment, parsed, stored};
use super::worker::{Store, StoreError};

/// Somebody's word, as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// To what, and whose.
    pub agreement: Agreement,
    /// Who said so, where that was somebody else: root, for a person.
    pub told_by: String,
    /// When.
    pub at: Timestamp,
}

/// A plan that waits until enough people agree. One in each environment: a newer one takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// The plan.
    pub proposal: Proposal,
    /// How many changes it has.
    pub changes: u32,
    /// How many people must agree.
    pub required: u32,
    /// Who agreed when it was last planned.
    pub given: BTreeSet<String>,
    /// Since when it waits.
    pub at: Timestamp,
}

fn proposal(environment: &EnvironmentName, commit: &str, seal: &str) -> Result<Proposal, StoreError> {
    let (commit, seal) = (parsed("commit", commit)?, parsed("seal", seal)?);
    Ok(Proposal { environment: environment.clone(), commit, seal })
}

impl Store {
    /// Writes down that somebody agreed to a plan. A word that was given before stays as it was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn approve(&self, approval: Approval) -> Result<(), StoreError> {
        self.call(move |connection| {
            let Approval { agreement: Agreement { to, by }, told_by, at } = approval;
            connection.execute(
                "INSERT OR IGNORE INTO approvals (environment, commit_id, seal, by, told_by, at) VALUES (?, ?, ?, ?, ?, ?)",
                params![to.environment.as_str(), to.commit.as_str(), to.seal.to_string(), by, told_by, stored(at)],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns every word given in an environment, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn approvals(&self, environment: &EnvironmentName) -> Result<Vec<Approval>, StoreError> {
        let environment = environment.clone();
        self.call(move |connection| {
            let sql = "SELECT commit_id, seal, by, told_by, at FROM approvals WHERE environment = ? ORDER BY at, by";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([environment.as_str()], |row| {
                let texts: (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((texts, row.get::<_, i64>(4)?))
            })?;
            rows.map(|row| {
                let ((commit, seal, by, told_by), at) = row?;
                let agreement = Agreement { to: proposal(&environment, &commit, &seal)?, by };
                Ok(Approval { agreement, told_by, at: moment(at) })
            })
            .collect()
        })
        .await
    }

    /// Writes down which plan waits. The time at which the same plan began to wait stays.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn request_approval(&self, request: ApprovalRequest) -> Result<(), StoreError> {
        self.call(move |connection| {
            let ApprovalRequest { proposal, changes, required, given, at } = request;
            let given = given.into_iter().collect::<Vec<_>>().join(" ");
            connection.execute(
                "INSERT INTO approval_requests (environment, commit_id, seal, changes, required, given, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (environment) DO UPDATE SET
                     at = CASE WHEN commit_id = ?2 AND seal = ?3 THEN at ELSE ?7 END,
                     commit_id = ?2, seal = ?3, changes = ?4, required = ?5, given = ?6",
                params![
                    proposal.environment.as_str(),
                    proposal.commit.as_str(),
                    proposal.seal.to_string(),
                    changes,
                    required,
                    given,
                    stored(at)
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the plan that waits in an environment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn approval_request(&self, environment: &EnvironmentName) -> Result<Option<ApprovalRequest>, StoreError> {
        let environment = environment.clone();
        self.call(move |connection| {
            let sql =
                "SELECT commit_id, seal, given, changes, required, at FROM approval_requests WHERE environment = ?";
            let row = connection
                .query_row(sql, [environment.as_str()], |row| {
                    let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    Ok((texts, row.get(3)?, row.get(4)?, row.get::<_, i64>(5)?))
                })
                .optional()?;
            row.map(|((commit, seal, given), changes, required, at)| {
                let given = given.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                let proposal = proposal(&environment, &commit, &seal)?;
                Ok(ApprovalRequest { proposal, changes, required, given, at: moment(at) })
            })
            .transpose()
        })
        .await
    }

    /// Forgets the plan that waits, when it is one of this commit.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drop_approval_request(
        &self,
        environment: &EnvironmentName,
        commit: &CommitId,
    ) -> Result<(), StoreError> {
        let key = (environment.to_string(), commit.to_string());
        self.call(move |connection| {
            connection.execute("DELETE FROM approval_requests WHERE environment = ? AND commit_id = ?", key)?;
            Ok(())
        })
        .await
    }

    /// Takes in, without waiting, that a plan was released by approval: what keeps its commit up needs none from now on. The
    /// requests that follow see it.
    pub fn release(&self, proposal: &Proposal, at: Timestamp) {
        let Proposal { environment, commit, seal } = proposal.clone();
        self.tell("a release by approval", move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO released (environment, commit_id, seal, at) VALUES (?, ?, ?, ?)",
                params![environment.as_str(), commit.as_str(), seal.to_string(), stored(at)],
            )?;
            Ok(())
        });
    }

    /// Returns the commit that was released last in an environment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn released(&self, environment: &EnvironmentName) -> Result<Option<CommitId>, StoreError> {
        let environment = environment.to_string();
        self.call(move |connection| {
            let sql = "SELECT commit_id FROM released WHERE environment = ?";
            let row: Option<String> = connection.query_row(sql, [environment], |row| row.get(0)).optional()?;
            row.map(|commit| parsed("commit", &commit)).transpose()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::protocol::Digest;

    use super::*;

    fn plan(digit: &str, seal: u8) -> Proposal {
        let commit = digit.repeat(40).parse().unwrap();
        Proposal { environment: "production".parse().unwrap(), commit, seal: Digest([seal; 32]) }
    }

    #[tokio::test]
    async fn cap_03_words_requests_and_releases_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let environment: EnvironmentName = "production".parse().unwrap();
        let word = |to: &Proposal, by: &str, at| Approval {
            agreement: Agreement { to: to.clone(), by: by.to_owned() },
            told_by: "root".to_owned(),
            at: Timestamp(at),
        };
        let request = |proposal: &Proposal, at| ApprovalRequest {
            proposal: proposal.clone(),
            changes: 3,
            required: 2,
            given: ["ada".to_owned(), "bob".to_owned()].into(),
            at: Timestamp(at),
        };
        {
            let store = Store::open(&path).unwrap();
            store.approve(word(&plan("a", 1), "bob", 2)).await.unwrap();
            store.approve(word(&plan("a", 1), "ada", 1)).await.unwrap();
            store.approve(word(&plan("a", 1), "ada", 9)).await.unwrap();
            store.request_approval(request(&plan("a", 1), 1)).await.unwrap();
            store.request_approval(request(&plan("b", 2), 5)).await.unwrap();
            store.request_approval(request(&plan("b", 2), 7)).await.unwrap();
            store.release(&plan("a", 1), Timestamp(3));
            store.flush().await.unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(
            store.approvals(&environment).await.unwrap(),
            [word(&plan("a", 1), "ada", 1), word(&plan("a", 1), "bob", 2)]
        );
        assert_eq!(store.approvals(&"staging".parse().unwrap()).await.unwrap(), []);
        let waits = store.approval_request(&environment).await.unwrap();
        assert_eq!(waits, Some(request(&plan("b", 2), 5)), "the newer one, since it was first asked for");
        assert_eq!(store.released(&environment).await.unwrap(), Some(plan("a", 1).commit));
        store.drop_approval_request(&environment, &plan("a", 1).commit).await.unwrap();
        assert!(store.approval_request(&environment).await.unwrap().is_some(), "another commit's stays");
        store.drop_approval_request(&environment, &plan("b", 2).commit).await.unwrap();
        assert_eq!(store.approval_request(&environment).await.unwrap(), None);
    }
}
