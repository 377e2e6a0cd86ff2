//! The commit point: moving new connections to a slot.

use holdfast_protocol::SwitchMethod;

use super::{Act, Probed, StepError, Work, decode, encode, fail, nginx};
use crate::transaction::switches::{self, SwitchError};

/// Moves new connections to a slot.
pub(super) struct Switch<'a> {
    pub(super) listen: &'a str,
    pub(super) from: Option<u16>,
    pub(super) to: u16,
    pub(super) method: SwitchMethod,
}

/// Removes a switch.
pub(super) struct Remove<'a> {
    pub(super) listen: &'a str,
}

impl From<SwitchError> for StepError {
    fn from(error: SwitchError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn live(work: &Work<'_>, listen: &str) -> Result<Option<u16>, StepError> {
    switches::port_of(listen)?;
    Ok(switches::live(work.host)?.get(listen).copied())
}

fn set(work: &Work<'_>, listen: &str, to: Option<u16>, method: SwitchMethod) -> Result<String, StepError> {
    if switches::set(work.host, listen, to, method)? { nginx::reload(work) } else { Ok(String::new()) }
}

impl Act for Switch<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let found = live(work, self.listen)?;
        if found.is_some() && found != self.from && found != Some(self.to) {
            return fail(format!("{} goes to {found:?}, the plan expected {:?}: plan again", self.listen, self.from));
        }
        Ok(Vec::new())
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let note = set(work, self.listen, Some(self.to), self.method)?;
        Ok(format!("{} goes to {} {note}", self.listen, self.to).trim_end().to_owned())
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        // Whether nginx was reloaded after its file was replaced cannot be told; once more is harmless.
        let redirect = self.method == SwitchMethod::Redirect;
        if redirect && live(work, self.listen)? == Some(self.to) && switches::is_kept(work.host, self.listen, self.to)?
        {
            return Ok(Probed::Happened(format!("{} goes to {}", self.listen, self.to)));
        }
        Ok(Probed::DoIt)
    }

    fn undo(&self, work: &Work<'_>, _before: &[u8]) -> Result<(), StepError> {
        set(work, self.listen, self.from, self.method).map(drop)
    }
}

impl Act for Remove<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let method = switches::method(work.host, self.listen)?.unwrap_or(SwitchMethod::Redirect);
        Ok(encode(&live(work, self.listen)?.map(|to| (to, method))))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        set(work, self.listen, None, SwitchMethod::Redirect)
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        match decode::<Option<(u16, SwitchMethod)>>(before)? {
            Some((to, method)) => set(work, self.listen, Some(to), method).map(drop),
            None => Ok(()),
        }
    }
}
