//! A certificate for nginx to begin with.

use holdfast_protocol::CertificateSpec;

use super::{Act, StepError, Work};

/// Makes the files exist that nginx names; doing it again does nothing.
pub(super) struct Begin<'a>(pub(super) &'a CertificateSpec);

impl Act for Begin<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        crate::certificate::begin(work.host, self.0).map_err(|error| StepError::Failed(error.to_string()))
    }
}
