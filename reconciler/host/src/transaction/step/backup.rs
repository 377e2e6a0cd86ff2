//! A backup that something waits for.

use holdfast_protocol::BackupSpec;

use super::{Act, StepError, Work, fail};

/// Takes a backup that counts. One that was cut down in its middle counts for nothing, and is taken anew.
pub(super) struct Backup<'a>(pub(super) &'a BackupSpec);

impl Act for Backup<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        (work.tell)(&format!("taking the backup `{}`", self.0.class));
        match crate::backup::take(work.host, self.0) {
            Ok(record) => Ok(format!("{}, {} bytes", record.file, record.size)),
            Err(error) => fail(format!("backup `{}`: {error}", self.0.class)),
        }
    }
}
