//! Releases of static files, and the link that leads to one of them.

use holdfast_protocol::{Digest, StaticRecord};

use super::{Act, Probed, StepError, Work, decode, encode};
use crate::statics::{self, Layout, Stood, Unpacking};

/// Has a release whole beside the one that serves.
pub(super) struct Unpack<'a>(pub(super) &'a StaticRecord);

/// Moves the link.
pub(super) struct Switch<'a> {
    pub(super) path: &'a str,
    pub(super) release: &'a Digest,
    pub(super) adopt: bool,
}

/// Removes releases that nobody needs.
pub(super) struct Prune<'a> {
    pub(super) path: &'a str,
    pub(super) keep: &'a [Digest],
    pub(super) link: bool,
}

fn layout(path: &str) -> Result<Layout, StepError> {
    Layout::of(path).map_err(StepError::Failed)
}

impl Act for Unpack<'_> {
    /// Whether it was there.
    fn capture(&self, _work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        Ok(encode(&statics::is_there(&layout(&self.0.path)?, &self.0.release)))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let with = Unpacking {
            archive: work.host.root.blob(&self.0.release),
            disk: &work.host.disk,
            stop: &|| (work.stop)() || std::time::Instant::now() > work.deadline,
        };
        let unpacked = statics::unpack(&layout(&self.0.path)?, self.0, &with);
        if (work.stop)() { Err(StepError::Stopped) } else { unpacked.map_err(StepError::Failed) }
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        if decode::<bool>(before)? {
            return Ok(());
        }
        statics::discard(&layout(&self.0.path)?, &self.0.release, &work.host.disk).map_err(StepError::Failed)
    }
}

impl Act for Switch<'_> {
    fn capture(&self, _work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        statics::stands(&layout(self.path)?, self.adopt).map(|stood| encode(&stood)).map_err(StepError::Failed)
    }

    fn apply(&self, _work: &Work<'_>, before: &[u8]) -> Result<String, StepError> {
        let stood: Stood = decode(before)?;
        statics::switch(&layout(self.path)?, self.release, &stood).map_err(StepError::Failed)?;
        Ok(match stood {
            Stood::Foreign => format!("what stood there is {} now", layout(self.path)?.adopted().display()),
            Stood::Nothing | Stood::Link(_) => String::new(),
        })
    }

    fn probe(&self, _work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        let done = statics::switched(&layout(self.path)?, self.release).map_err(StepError::Failed)?;
        Ok(if done { Probed::Happened(String::new()) } else { Probed::DoIt })
    }

    fn undo(&self, _work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        statics::put_back(&layout(self.path)?, &decode(before)?).map_err(StepError::Failed)
    }
}

impl Act for Prune<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        statics::prune(&layout(self.path)?, self.keep, self.link, &work.host.disk).map_err(StepError::Failed)
    }
}
