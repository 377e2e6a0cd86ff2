//! Approvals on the management box: who speaks, whose commit it is, and what was agreed to.

use std::process::Stdio;

use holdfast_core::approval::{Agreement, Objection, counted, may_agree, names_seal};
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_engine::daemon::{Approved, Voice};
use holdfast_engine::store::{Approval, Store};
use holdfast_engine::sync::Approving;

use crate::error::{Error, OrHint};
use crate::setup::Setup;
use crate::wire::Wire;

/// Returns the name of an account.
///
/// # Source
/// `id -nu UID` (coreutils): also accounts that are not in `/etc/passwd`.
pub(crate) async fn account(uid: u32) -> String {
    let mut command = tokio::process::Command::new("id");
    command.args(["-nu", "--", &uid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().await.ok().filter(|output| output.status.success());
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("uid {uid}"))
}

/// Returns the name of the account that runs this.
pub(crate) async fn own_account() -> String {
    account(rustix::process::getuid().as_raw()).await
}

/// Returns who must agree to what is about to be planned, and who did; `None` where nobody is asked.
pub(crate) async fn approving(
    setup: &Setup,
    store: &Store,
    environment: &EnvironmentName,
    commit: &CommitId,
) -> Result<Option<Approving>, Error> {
    let Some(rule) = setup.manager.approvals.get(environment) else { return Ok(None) };
    let given = store.approvals(environment).await.or_hint("")?;
    Ok(Some(Approving {
        rule: rule.clone(),
        authors: setup.repository.authors(commit).await.or_hint("")?,
        given: given.into_iter().map(|approval| approval.agreement).collect(),
        released: store.released(environment).await.or_hint("")?,
    }))
}

/// Judges somebody's word on the plan that waits, and writes it down when it counts.
pub(crate) async fn approve(
    setup: &Setup,
    store: &Store,
    environment: &EnvironmentName,
    seal: &str,
    voice: Voice,
) -> Result<Approved, Error> {
    let told_by = account(voice.uid).await;
    // Who can read and write the store and the configuration can say anything anyway: that it was said so is in the history.
    let may_speak_for_others = voice.uid == 0 || voice.uid == rustix::process::geteuid().as_raw();
    let by = match voice.name {
        Some(name) if name != told_by && !may_speak_for_others => {
            return Err(Error::refused(
                format!("`{told_by}` may not speak for `{name}`"),
                "approve with an account of your own; `--as` is for root",
            ));
        }
        Some(name) => name,
        None => told_by.clone(),
    };
    let Some(rule) = setup.manager.approvals.get(environment) else {
        return Err(Error::refused(Objection::NotAsked.to_string(), ""));
    };
    let Some(waiting) = store.approval_request(environment).await.or_hint("")? else {
        return Err(Error::refused(
            format!("no plan of {environment} waits for approval"),
            format!("`holdfast apply {environment}`, or the daemon, asks for it"),
        ));
    };
    let proposal = waiting.proposal;
    if !names_seal(seal, proposal.seal) {
        return Err(Error::refused(
            format!(
                "the plan that waits in {environment} is {} (commit {}), not {}: what was looked at is void",
                proposal.seal.short(),
                proposal.commit.short(),
                seal.chars().take(12).collect::<String>().escape_debug()
            ),
            format!("look at `holdfast plan {environment}` and approve that, by at least twelve digits of its seal"),
        ));
    }
    let authors = setup.repository.authors(&proposal.commit).await.or_hint("")?;
    may_agree(Some(rule), &authors, &by).map_err(|objection| Error::refused(objection.to_string(), ""))?;
    let agreement = Agreement { to: proposal.clone(), by: by.clone() };
    let told_by = if told_by == by { String::new() } else { told_by };
    store.approve(Approval { agreement, told_by, at: Wire::now() }).await.or_hint("")?;
    let words = store.approvals(environment).await.or_hint("")?;
    let words: Vec<Agreement> = words.into_iter().map(|word| word.agreement).collect();
    let given = counted(Some(rule), &authors, &words, &proposal);
    Ok(Approved { proposal, by, given, required: rule.required, begins: false })
}
