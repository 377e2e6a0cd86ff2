//! Container images.

use holdfast_protocol::Observed;

use super::{Act, StepError, Work, fail};
use crate::docker::Engine;

/// Makes images available: each is here, or is pulled.
pub(super) struct Images<'a>(pub(super) &'a [String]);

impl Act for Images<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let mut engine = Engine::new(work.host.system.clone());
        let mut pulled = 0;
        for image in self.0 {
            match engine.image(image) {
                Observed::Seen(_) => continue,
                Observed::Unknown(why) => return fail(format!("look for image {image}: {why}")),
                Observed::Absent => {}
            }
            (work.tell)(&format!("pulling {image}"));
            work.run("docker", &["pull", "--quiet", "--", image])?;
            // A pull that says it worked and left nothing is a failure.
            if !matches!(engine.image(image), Observed::Seen(_)) {
                return fail(format!("image {image} is not here after it was pulled"));
            }
            pulled += 1;
        }
        Ok(if pulled == 0 { String::new() } else { format!("{pulled} of {} pulled", self.0.len()) })
    }
}

/// Removes images that no kept release needs.
pub(super) struct Remove<'a>(pub(super) &'a [String]);

impl Act for Remove<'_> {
    /// What cannot be removed, such as one that somebody's container uses, stays: the release serves all the same.
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let (mut gone, mut kept) = (0, Vec::new());
        for image in self.0 {
            match work.ask("docker", &["image", "rm", "--", image]) {
                Ok(output) if output.code == 0 => gone += 1,
                Ok(output) if output.told().contains("No such image") => {}
                Ok(output) => kept.push(output.told()),
                Err(StepError::Stopped) => return Err(StepError::Stopped),
                Err(error) => kept.push(error.to_string()),
            }
        }
        Ok(match kept.first() {
            None => format!("{gone} of {} cleared away", self.0.len()),
            Some(why) => format!("{gone} of {} cleared away; {} stay: {why}", self.0.len(), kept.len()),
        })
    }
}
