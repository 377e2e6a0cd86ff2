//! The manager's own configuration, read with the same manners as a repository.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::decode::{Named, Wrong};
use super::findings::Findings;
use super::model::{GateCheck, GateSource, Located};
use super::notices::{NoticeSink, notices};
use super::place::{At, Place};
use super::raw;
use super::read;
use super::suggest;
use crate::approval::ApprovalRule;
use crate::diag::Diagnostics;
use crate::id::EnvironmentName;
use crate::time::Millis;

/// What the management box trusts and uses, as written and with defaults. The engine gives it its types of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerFile {
    /// The repository's location.
    pub repository: Located<String>,
    /// Where the mirror, the store and the journals live.
    pub state_dir: String,
    /// Where sockets live while the daemon runs.
    pub runtime_dir: String,
    /// Between two looks at the repository.
    pub poll_interval: Millis,
    /// For one fetch.
    pub fetch_timeout: Millis,
    /// What each environment follows.
    pub environments: BTreeMap<EnvironmentName, Followed>,
    /// Where plans must be approved, and by whom.
    pub approvals: BTreeMap<EnvironmentName, ApprovalRule>,
    /// What has to be green for a commit before it is applied.
    pub checks: BTreeMap<EnvironmentName, Vec<GateCheck>>,
    /// Where people are told what happens.
    pub notices: Vec<NoticeSink>,
    /// Where the daemon answers Prometheus; `None` when nowhere. An address of this machine alone.
    pub metrics: Option<SocketAddr>,
    /// How many environments the daemon changes at the same time.
    pub rollouts: u32,
    /// How long past syncs are remembered.
    pub history: HistoryKept,
    /// An allowed signers file as `ssh-keygen` reads it; `None` when signatures are not looked at.
    pub allowed_signers: Option<String>,
    /// Files with age identities, in the order they are tried.
    pub age_key_files: Vec<String>,
    /// An `ssh_config` instead of the user's own.
    pub ssh_config: Option<String>,
    /// For an SSH connection to come up.
    pub ssh_connect_timeout: Millis,
    /// A private key to offer first.
    pub ssh_identity: Option<String>,
    /// The pinned host key of the machine that the repository is on.
    pub repository_host_key: Option<String>,
    /// Certificates of trusted authorities for `https://`, instead of the machine's own.
    pub https_ca_file: Option<String>,
    /// A file with the token for `https://`.
    pub https_token_file: Option<String>,
    /// The folder with the archives of images; `None` for the one in `state_dir`.
    pub archives: Option<String>,
    /// The host program to deliver instead of the one that came with this release.
    pub host_program: Option<String>,
    /// Whether a branch may move to a commit that does not follow the last one.
    pub allow_non_fast_forward: bool,
}

/// How many environments the daemon changes at the same time when nobody says otherwise.
pub const ROLLOUTS: u32 = 4;

/// How long past syncs are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryKept {
    /// All for this time.
    pub age: Millis,
    /// So many of each environment whatever their age.
    pub at_least: u32,
}

impl Default for HistoryKept {
    /// 200 syncs of each environment, and everything of the last 90 days.
    fn default() -> Self {
        Self { age: Millis(90 * 86_400_000), at_least: 200 }
    }
}

/// What an environment follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// A branch, or a pattern of branches.
    Branch(String),
    /// A tag, or a pattern of tags.
    Tag(String),
}

/// Returns the manager's configuration. `file` is its path, for findings.
///
/// # Guarantees
/// It is there exactly when no finding is an error. The location of the repository is only text yet.
pub fn load_manager(file: &str, bytes: &[u8]) -> (Option<ManagerFile>, Diagnostics) {
    let mut findings = Findings::default();
    let raw: Option<raw::Manager> =
        read::text_of(file, bytes, &mut findings).and_then(|text| read::decode(file, text, &mut findings));
    let manager = raw.and_then(|raw| resolve(file, raw, &mut findings));
    (manager.filter(|_| !findings.has_errors()), findings.finish())
}

fn resolve(file: &str, raw: raw::Manager, findings: &mut Findings<'_>) -> Option<ManagerFile> {
    let (mut environments, mut approvals, mut checks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let approvers = approvers(raw.approvers);
    let entries = raw.environments.0.map(|named| named.entries);
    if entries.as_ref().is_some_and(Vec::is_empty) {
        let hint = "name at least one, such as `environments: { prod: { branch: main } }`";
        let at = raw.repository.0.as_ref();
        let (file, place) = at.map_or((file, Place::default()), |at| (at.file.as_str(), at.place));
        findings.error("no-environment", file, place, "no environment is followed", hint);
    }
    for entry in entries.into_iter().flatten() {
        let Some(source) = entry.value else { continue };
        let followed = match (source.value.branch.as_ref(), source.value.tag.as_ref()) {
            (Some(branch), None) => Followed::Branch(branch.value.0.clone()),
            (None, Some(tag)) => Followed::Tag(tag.value.0.clone()),
            _ if source.value.wrong.any(&["branch", "tag"]) => continue,
            _ => {
                let message = format!("the environment `{}` follows either a `branch` or a `tag`", entry.name.value);
                findings.error_at("bad-source", &source, message, "write one of the two");
                continue;
            }
        };
        if let Some(asked) = source.value.approval
            && let Some(rule) = approval(&entry.name.value, &asked, &approvers, findings)
        {
            approvals.insert(entry.name.value.clone(), rule);
        }
        let asked = source.value.checks.iter().flatten();
        let asked: Vec<GateCheck> = asked.filter_map(|check| gate(check, findings)).collect();
        if !asked.is_empty() {
            checks.insert(entry.name.value.clone(), asked);
        }
        environments.insert(entry.name.value, followed);
    }
    let notices = notices(raw.notices, findings);
    let metrics = raw.metrics.and_then(|metrics| metrics.listen.0).map(|listen| listen.0);
    let history = raw.history.map_or_else(HistoryKept::default, |kept| {
        let usual = HistoryKept::default();
        let age = within("history.age", kept.age.as_ref(), usual.age.0, findings);
        HistoryKept { age, at_least: kept.at_least.map_or(usual.at_least, |count| count.0) }
    });
    let poll_interval = within("poll_interval", raw.poll_interval.as_ref(), 60_000, findings);
    let fetch_timeout = within("fetch_timeout", raw.fetch_timeout.as_ref(), 120_000, findings);
    let ssh = raw.ssh.unwrap_or(raw::ManagerSsh {
        config_file: None,
        connect_timeout: None,
        identity: None,
        repository_host_key: None,
        wrong: Wrong::default(),
    });
    let https = raw.https.unwrap_or(raw::ManagerHttps { ca_file: None, token_file: None, wrong: Wrong::default() });
    let ssh_connect_timeout = within("ssh.connect_timeout", ssh.connect_timeout.as_ref(), 10_000, findings);
    let text = |path: Option<raw::LocalPath>| path.map(|path| path.0);
    let repository = raw.repository.0?;
    Some(ManagerFile {
        repository: Located { origin: repository.origin(), value: repository.value.0 },
        state_dir: text(raw.state_dir).unwrap_or_else(|| "/var/lib/holdfast-manager".to_owned()),
        runtime_dir: text(raw.runtime_dir).unwrap_or_else(|| "/run/holdfast-manager".to_owned()),
        poll_interval,
        fetch_timeout,
        environments,
        approvals,
        checks,
        notices,
        metrics,
        rollouts: raw.rollouts.map_or(ROLLOUTS, |most| most.0),
        history,
        allowed_signers: text(raw.allowed_signers),
        age_key_files: raw.age_key_files.unwrap_or_default().into_iter().map(|path| path.0).collect(),
        ssh_config: text(ssh.config_file),
        ssh_connect_timeout,
        ssh_identity: text(ssh.identity),
        repository_host_key: ssh.repository_host_key.map(|key| key.value.0),
        https_ca_file: text(https.ca_file),
        https_token_file: text(https.token_file),
        archives: text(raw.archives),
        host_program: text(raw.host_program),
        allow_non_fast_forward: raw.allow_non_fast_forward.unwrap_or(false),
    })
}

/// Names of people, each with addresses in lower case.
type People = BTreeMap<String, BTreeSet<String>>;

fn approvers(raw: Option<Named<raw::Account, Vec<raw::EmailAddress>>>) -> People {
    let entries = raw.into_iter().flat_map(|named| named.entries);
    let lower = |emails: Vec<raw::EmailAddress>| emails.into_iter().map(|email| email.0.to_ascii_lowercase()).collect();
    entries.map(|entry| (entry.name.value.0, entry.value.map(lower).unwrap_or_default())).collect()
}

/// Returns an environment's rule; nothing after a finding: a rule that cannot be kept would be none.
fn approval(
    environment: &EnvironmentName,
    asked: &At<raw::ManagerApproval>,
    people: &People,
    findings: &mut Findings<'_>,
) -> Option<ApprovalRule> {
    if asked.value.wrong.any(&["required", "by"]) {
        return None;
    }
    let required = asked.value.required.map_or(1, |required| required.0);
    let mut chosen = People::new();
    match &asked.value.by {
        None => chosen.clone_from(people),
        Some(by) => {
            for name in by {
                let Some((person, emails)) = people.get_key_value(&name.value.0) else {
                    let known: Vec<&str> = people.keys().map(String::as_str).collect();
                    let message = format!("`{}` is none of the `approvers`", name.value.0);
                    let hint = suggest::hint(&name.value.0, "they are", known.iter().copied());
                    findings.error_at("unknown-approver", name, message, hint);
                    return None;
                };
                chosen.insert(person.clone(), emails.clone());
            }
        }
    }
    if (chosen.len() as u64) < u64::from(required) {
        let message = format!("{environment} asks for {required} to approve, and {} may", chosen.len());
        let hint = "name the people and their e-mail addresses: `approvers: { ada: [ada@example.net] }`";
        findings.error_at("too-few-approvers", asked, message, hint);
        return None;
    }
    Some(ApprovalRule { required, approvers: chosen })
}

/// Returns a check; nothing after a finding: a check that is left out would let everything through.
fn gate(check: &At<raw::ManagerCheck>, findings: &mut Findings<'_>) -> Option<GateCheck> {
    let raw = &check.value;
    let name = raw.name.0.as_ref()?.0.clone();
    let source = match (&raw.file, &raw.command) {
        (Some(file), None) => GateSource::File { path: file.0.clone() },
        (None, Some(command)) => {
            let timeout = within("timeout", raw.timeout.as_ref(), 600_000, findings);
            if !command.0.first().is_some_and(|program| program.starts_with('/')) {
                let message = format!("the check `{name}` does not say where its program is");
                findings.error_at("bad-check", check, message, "begin the command with an absolute path");
            }
            GateSource::Command { argv: command.0.clone(), timeout }
        }
        _ if raw.wrong.any(&["file", "command"]) => return None,
        _ => {
            let message = format!("the check `{name}` asks either a `file` or a `command`");
            findings.error_at("bad-check", check, message, "write one of the two");
            return None;
        }
    };
    Some(GateCheck { name, source })
}

/// Shortest interval and timeout: below it the management box would only ask.
const LEAST: Millis = Millis(1_000);

/// Returns a duration that is long enough.
fn within(key: &str, at: Option<&At<Millis>>, default: u64, findings: &mut Findings<'_>) -> Millis {
    let Some(at) = at else { return Millis(default) };
    if at.value < LEAST {
        findings.error_at(
            "bad-value",
            at,
            format!("`{key}`: {} is too short", at.value),
            format!("write {LEAST} or more"),
        );
    }
    at.value
}
