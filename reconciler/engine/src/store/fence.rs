use super::worker::{Store, StoreError};

impl Store {
    /// Returns the next fence: higher than every one given before, and than `seen`, the highest that a host has shown.
    ///
    /// # Guarantees
    /// On the disk before it is returned. A manager that lost its store catches up by what the hosts show.
    ///
    /// # Errors
    /// See [`StoreError`]; no transaction may be sent then.
    pub async fn next_fence(&self, seen: u64) -> Result<u64, StoreError> {
        self.call(move |connection| {
            let seen = i64::try_from(seen).unwrap_or(i64::MAX - 1);
            let sql = "UPDATE fence SET last = max(last, ?) + 1 RETURNING last";
            let next: i64 = connection.query_row(sql, [seen], |row| row.get(0))?;
            Ok(next.unsigned_abs())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rises_over_restarts_and_over_what_hosts_show() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.next_fence(0).await.unwrap(), 1);
        assert_eq!(store.next_fence(41).await.unwrap(), 42);
        let other = Store::open(&path).unwrap();
        assert_eq!(other.next_fence(7).await.unwrap(), 43);
        assert_eq!(store.next_fence(0).await.unwrap(), 44);
    }
}
