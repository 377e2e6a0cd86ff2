//! The program's exit codes: stable, documented in `docs/reference/exit-codes.md`, and the same for every verb.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done, or there was nothing to do.
    Ok = 0,
    /// It failed: a bad file, an unreachable repository, an internal error.
    Failed = 1,
    /// With `--detailed-exitcode`: there are changes, or something is not as it should be.
    Changes = 2,
    /// It was refused before anything changed: a blocker, a stale plan, a lock, a quarantined release.
    Refused = 3,
    /// It failed on a host and was undone on all: they are as before.
    RolledBack = 4,
    /// Only a part was done: an app or a host was blocked, some hosts differ from others, or one needs an operator.
    Partial = 5,
    /// Nothing was changed: the plan waits until people approve it.
    AwaitsApproval = 6,
    /// It was refused because a window is closed.
    Closed = 7,
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
