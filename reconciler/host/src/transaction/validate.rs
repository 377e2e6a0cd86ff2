//! Asks the host's own tools whether what a transaction brings would work, on copies beside the live state.

use holdfast_protocol::{StageProblem, TransactionSpec};

use super::host::Host;

/// Returns what is wrong; empty when nothing is.
pub fn validate(_host: &Host, _spec: &TransactionSpec) -> Vec<StageProblem> {
    Vec::new()
}
