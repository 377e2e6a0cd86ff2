//! Roles, databases, extensions and grants of a database server, and its initial data.

use std::path::Path;
use std::time::Duration;

use super::{Act, StepError, Work, fail};
use crate::databases::{DatabasesError, converge, seed};

/// Between two tries while the server starts.
const AGAIN: Duration = Duration::from_millis(500);

/// Makes a server as a declaration says.
pub(super) struct Converge<'a>(pub(super) &'a str);

/// Brings initial data.
pub(super) struct Seed<'a>(pub(super) &'a str);

impl Act for Converge<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        patiently(work, |left| converge(Path::new(self.0), left))
    }
}

impl Act for Seed<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        patiently(work, |left| seed(Path::new(self.0), left))
    }
}

/// Tries again while the server starts. The first start of an image makes the server twice, and the first of them answers on the socket
/// too: what it cuts off is done again.
fn patiently(work: &Work<'_>, act: impl Fn(Duration) -> Result<String, DatabasesError>) -> Result<String, StepError> {
    loop {
        match act(work.left()) {
            Ok(note) => return Ok(note),
            Err(error) if error.may_pass() => {
                (work.tell)("waiting for the database");
                work.pause(AGAIN, &format!("the database: {error}"))?;
            }
            Err(error) => return fail(error.to_string()),
        }
    }
}
