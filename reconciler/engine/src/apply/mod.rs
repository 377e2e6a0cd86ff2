//! Carries one app's rollout out: stages everywhere, then does what the fleet decides, and follows every host to its end.
//!
//! # Flow
//! [`roll_out`] takes what is to be done on each host and gives an [`AppEnd`]; [`resume`] does the same for a rollout whose manager was
//! cut down. Nothing here decides: [`holdfast_core::rollout::Fleet`] does, and the hosts do.

mod deliver;
mod drive;
mod follow;
mod operator;
mod tell;
mod turns;
mod unfinished;

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::config::HostSpec;
use holdfast_core::event::{AppResult, SyncEventKind};
use holdfast_core::id::{AppName, HostName};
use holdfast_core::rollout::{Draft, Fleet, FleetPolicy};
use holdfast_core::time::Timestamp;
use holdfast_protocol::{Outcome, Phase, TransactionId, TransactionSpec};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ports::Ports;

pub use operator::{Heard, Operator, OperatorHandle, OperatorVerb, OperatorWord, nothing_held, operator};

pub use turns::Turns;
pub use unfinished::unfinished;

pub(crate) use deliver::secret_problems;

use deliver::{DeliverError, Delivered, deliver};
use drive::{Drive, Member};

/// Hosts to which content is sent at one time.
const SENDING: usize = 16;

/// One app to be rolled out.
#[derive(Debug)]
pub struct AppRollout {
    /// The app.
    pub app: AppName,
    /// The release, for people.
    pub release: String,
    /// What is to be done on each host.
    pub hosts: BTreeMap<HostName, (HostSpec, Payload)>,
    /// The order of hosts.
    pub waves: Vec<Vec<HostName>>,
    /// How the fleet decides.
    pub policy: FleetPolicy,
}

/// What is to be done on one host.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Its content is still to be revealed and sent.
    Draft(Box<Draft>),
    /// The host has all that it names.
    Complete(Box<TransactionSpec>),
}

/// One transaction of a rollout whose manager was cut down.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The host.
    pub host: HostSpec,
    /// The transaction.
    pub id: TransactionId,
    /// Its fence.
    pub fence: u64,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Whether a manager follows it now: then it is that one's.
    pub followed: bool,
    /// Whether it is still to be confirmed over a new connection once it has promoted.
    pub confirms: bool,
    /// What that manager calls itself.
    pub manager: String,
    /// When its first step began, by the host's clock.
    pub since: Timestamp,
    /// The commit it comes from.
    pub commit: String,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEnd {
    /// On the whole.
    pub result: AppResult,
    /// On each host that had begun.
    pub hosts: BTreeMap<HostName, HostEnd>,
    /// Whether a person sent it back.
    pub aborted: bool,
    /// Whether another manager was faster or sent it back, so that nothing of it is left: the hosts are to be looked at again.
    pub overtaken: bool,
}

/// How a rollout ended on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEnd {
    /// How; `None` when it was lost.
    pub outcome: Option<Outcome>,
    /// Why, for people.
    pub reason: String,
    /// Title and error of the step that made it fail by itself; `None` when it was sent back, or did not fail. What is wrong with
    /// the machine and not with the release (preflight, images) is told apart.
    pub failed: Option<StepFailure>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Its title and error.
    pub text: String,
    /// Whether the machine is to blame rather than the release, so that trying again may help.
    pub environmental: bool,
}

/// Rolls one app out and returns how that ended. Nothing begins before everything is staged on all hosts.
pub async fn roll_out(ports: &Ports, rollout: AppRollout, operator: &mut Operator) -> AppEnd {
    let AppRollout { app, release, hosts, waves, policy } = rollout;
    ports.tell(SyncEventKind::AppStarted { app: app.clone(), release, waves: waves.clone() });
    // Words that come while hosts are staged are heard when it begins.
    operator.begin(&app);
    let end = match stage_everywhere(ports, &app, hosts).await {
        Err(overtaken) => AppEnd { result: AppResult::Blocked, hosts: BTreeMap::new(), aborted: false, overtaken },
        Ok(members) => Drive::new(ports, app.clone(), members, Fleet::new(waves, policy)).run(operator).await,
    };
    operator.end();
    ports.tell(SyncEventKind::AppEnded { app, result: end.result });
    end
}

/// Follows the transactions of a rollout whose manager was cut down to their end, forward where a host has switched, else back.
pub async fn resume(
    ports: &Ports,
    app: AppName,
    release: String,
    unfinished: Vec<Unfinished>,
    operator: &mut Operator,
) -> AppEnd {
    let waves = vec![unfinished.iter().map(|one| one.host.name.clone()).collect()];
    ports.tell(SyncEventKind::AppStarted { app: app.clone(), release, waves });
    let states = unfinished.iter().map(|one| (one.host.name.clone(), (one.phase, one.outcome))).collect();
    let fleet = Fleet::resume(&states);
    let members = unfinished.into_iter().map(|one| (one.host.name.clone(), Member::resumed(one))).collect();
    operator.begin(&app);
    let end = Drive::new(ports, app.clone(), members, fleet).run(operator).await;
    operator.end();
    ports.tell(SyncEventKind::AppEnded { app, result: end.result });
    end
}

/// Returns the staged transactions. When a host found something in the way, tells what, and returns whether another manager was
/// there first.
async fn stage_everywhere(
    ports: &Ports,
    app: &AppName,
    hosts: BTreeMap<HostName, (HostSpec, Payload)>,
) -> Result<BTreeMap<HostName, Member>, bool> {
    let slots = Arc::new(Semaphore::new(SENDING));
    let mut sending = JoinSet::new();
    for (name, (host, payload)) in hosts {
        let (ports, slots) = (ports.clone(), Arc::clone(&slots));
        sending.spawn(async move {
            let _slot = slots.acquire().await;
            let delivered = deliver(&ports, &host, payload).await;
            (name, host, delivered)
        });
    }
    let mut members = BTreeMap::new();
    let (mut clear, mut overtaken) = (true, false);
    while let Some(sent) = sending.join_next().await {
        let (name, host, delivered) = match sent {
            Ok(sent) => sent,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(false),
        };
        let errors: Vec<String> = match delivered {
            Ok(Delivered { spec, bytes }) => {
                ports.tell(SyncEventKind::Staged { app: app.clone(), host: name.clone(), bytes });
                members.insert(name, Member::staged(host, *spec));
                continue;
            }
            Err(DeliverError::Problems(problems)) => {
                let line = |problem: &holdfast_protocol::StageProblem| match problem.component.as_str() {
                    "" => problem.message.clone(),
                    component => format!("{component}: {}", problem.message),
                };
                problems.iter().map(line).collect()
            }
            Err(error) => {
                overtaken |= error.is_overtaken();
                vec![error.to_string()]
            }
        };
        clear = false;
        for error in errors {
            ports.tell(SyncEventKind::HostTrouble { app: Some(app.clone()), host: name.clone(), error });
        }
    }
    if clear { Ok(members) } else { Err(overtaken) }
}
