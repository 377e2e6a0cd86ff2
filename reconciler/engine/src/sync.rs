//! One whole pass for one environment at one commit: the one function that knows the order of the flow.
//!
//! # Flow
//! Observe; finish what a former manager left; observe again if anything was; plan; refuse a stale approval; roll out app by app;
//! observe and plan once more, which must find nothing. Everything that happens is an event, and the [`Report`] is their fold.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::approval::{Agreement, ApprovalRule, Case, Clearance, Proposal, clearance};
use holdfast_core::config::{GateCheck, HostSpec};
use holdfast_core::desired::DesiredState;
use holdfast_core::event::{AppResult, SyncEvent, SyncEventKind, SyncResult};
use holdfast_core::id::{AppName, CommitId, HostName};
use holdfast_core::plan::{
    Blocker, Change, LiveHost, LiveState, Plan, PlanOptions, Quarantined, ResourceKey, app_digest, observe_request,
    plan, staleness,
};
use holdfast_core::report::Report;
use holdfast_core::rollout::{CompileInput, FleetPolicy, FleetShape, compile, waves};
use holdfast_core::time::Timestamp;
use holdfast_core::window::{Closed, closed_apps};
use holdfast_protocol::{Digest, Outcome, Phase};

use crate::apply::{AppEnd, AppRollout, Operator, Payload, Unfinished, resume, roll_out, secret_problems, unfinished};
use crate::gate::not_green;
use crate::observe::observe;
use crate::ports::{EventSink, Ports};

/// What is to be synced, and under which conditions.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// What every host should be.
    pub desired: DesiredState,
    /// Why: `apply`, `commit`, `drift`, `resume`.
    pub cause: String,
    /// The account that began it; empty where nobody knows.
    pub by: String,
    /// What was reviewed; nothing is applied when it has moved.
    pub expected: Option<Expected>,
    /// Releases that failed and are not tried again. Empty when a person insists.
    pub quarantined: BTreeSet<Quarantined>,
    /// Ids of migrations that succeeded, in whatever environment, as far as this manager knows.
    pub migrated: BTreeSet<String>,
    /// Lifts the limit on how much one sync may prune.
    pub allow_prune: bool,
    /// Takes over files that stand in our place with other content.
    pub adopt: bool,
    /// Only this app.
    pub only: Option<AppName>,
    /// Apps that somebody paused, and why: they are left as they are.
    pub paused: BTreeMap<AppName, String>,
    /// Who must agree to the plan before it is applied, and who did; `None` when nobody is asked.
    pub approving: Option<Approving>,
    /// What has to be green for the commit before anything is applied.
    pub checks: Vec<GateCheck>,
    /// What the environment's windows mean for it.
    pub windows: WindowConsent,
    /// Apps whose rollout to this commit was begun by a sync that was cut short: windows do not stop it half way.
    pub begun: BTreeSet<AppName>,
}

/// Who must agree to a plan, and who did.
#[derive(Debug, Clone)]
pub struct Approving {
    /// The environment's rule.
    pub rule: ApprovalRule,
    /// The e-mail addresses of who wrote the commit, in lower case.
    pub authors: BTreeSet<String>,
    /// Every word given in the environment.
    pub given: Vec<Agreement>,
    /// The commit that was released last.
    pub released: Option<CommitId>,
}

/// Who asks a sync to go on where windows close an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WindowConsent {
    /// Nobody.
    #[default]
    None,
    /// A person: a window with `manual: true` lets it through.
    Manual,
    /// A person who overrides every window, which is written down.
    Override {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What was reviewed.
#[derive(Debug, Clone)]
pub enum Expected {
    /// The seal of a plan.
    Seal(Digest),
    /// A whole plan: a refusal can say what moved.
    Plan(Box<Plan>),
}

/// Folds events while passing them on.
pub(crate) struct Recorder {
    inner: Arc<dyn EventSink>,
    report: Mutex<Report>,
}

impl Recorder {
    /// Returns the ports with a recorder in their event sink, and the recorder.
    pub(crate) fn on(ports: &Ports) -> (Ports, Arc<Self>) {
        let recorder = Arc::new(Self { inner: Arc::clone(&ports.events), report: Mutex::new(Report::new()) });
        let events: Arc<dyn EventSink> = Arc::clone(&recorder) as Arc<dyn EventSink>;
        (Ports { events, ..ports.clone() }, recorder)
    }

    /// Returns the report so far.
    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for Recorder {
    fn emit(&self, event: &SyncEvent) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        self.inner.emit(event);
    }
}

/// Returns what all hosts of a desired state say.
pub async fn observe_desired(ports: &Ports, desired: &DesiredState) -> LiveState {
    let questions = desired.hosts.values().map(|host| (host.host.clone(), observe_request(host))).collect();
    observe(ports, questions).await
}

/// Brings an environment to a commit and returns how that went. Never fails otherwise: what goes wrong is in the report.
pub async fn sync(ports: &Ports, request: &SyncRequest, operator: &mut Operator) -> Report {
    let (ports, recorder) = Recorder::on(ports);
    let desired = &request.desired;
    ports.tell(SyncEventKind::Started {
        environment: desired.environment.clone(),
        commit: desired.commit.clone(),
        cause: request.cause.clone(),
        by: request.by.clone(),
    });
    let (result, migrated) = pass(&ports, request, operator).await;
    ports.tell(SyncEventKind::Ended { result, migrated });
    recorder.report()
}

/// Times a sync looks at the hosts again because another manager was faster.
const TURNS: u32 = 4;

/// Returns how it went, and which migrations the hosts have done by then.
async fn pass(ports: &Ports, request: &SyncRequest, operator: &mut Operator) -> (SyncResult, Vec<String>) {
    let mut ends = BTreeMap::new();
    let mut gate = Gate { began: ports.clock.now(), passed: request.begun.clone(), word: None };
    let mut request = request.clone();
    let mut turn = 0;
    loop {
        turn += 1;
        match look_and_apply(ports, &mut request, operator, &mut ends, &mut gate, turn < TURNS).await {
            Passed::Stopped => return (SyncResult::Blocked, Vec::new()),
            Passed::Awaits => return (SyncResult::AwaitsApproval, Vec::new()),
            Passed::Through { blocked } => {
                if ends.is_empty() {
                    return (result(&ends, blocked, true), Vec::new());
                }
                let live = observe_desired(ports, &request.desired).await;
                let clean = is_clean(ports, &request, &live, &ends);
                return (result(&ends, blocked, clean), migrated(&request.desired, &live));
            }
            // Not because anybody was faster.
            Passed::Waited => turn -= 1,
            Passed::Overtaken => {
                // By a chance of its own, so that two that meet once do not meet again.
                ports.clock.sleep(Duration::from_millis(200 * u64::from(turn) + chance() % 1_000)).await;
            }
        }
    }
}

/// How one look, and what followed from it, went.
enum Passed {
    /// Nothing may be done.
    Stopped,
    /// Nothing may be done until people agree.
    Awaits,
    /// Every app had its turn.
    Through {
        /// Something stood in the way of one.
        blocked: bool,
    },
    /// Another manager was faster: what was seen is no longer so.
    Overtaken,
    /// It was other environments' turn: what was seen may no longer be so.
    Waited,
}

async fn look_and_apply(
    ports: &Ports,
    request: &mut SyncRequest,
    operator: &mut Operator,
    ends: &mut BTreeMap<AppName, AppResult>,
    gate: &mut Gate,
    may_turn: bool,
) -> Passed {
    let desired = request.desired.clone();
    let mut live = observe_desired(ports, &desired).await;
    let specs: BTreeMap<&HostName, &HostSpec> = desired.hosts.iter().map(|(name, host)| (name, &host.host)).collect();
    let left = finish_unfinished(ports, &desired, &specs, &live, operator).await;
    request.quarantined.extend(left.failed);
    request.paused.extend(left.foreign);
    gate.passed.extend(left.begun);
    if left.any {
        live = observe_desired(ports, &desired).await;
    }
    let asked = request;
    let request = &*asked;
    let plan = planned(request, &live, ports.clock.now());
    let mut blockers: Vec<String> = plan.blockers.iter().filter(|b| concerns(request, b)).map(line).collect();
    let stale = stale(request, &plan);
    blockers.extend(stale.iter().cloned());
    let apps = changed_apps(request, &plan);
    let shut = gate.shut(request, &apps);
    let rollouts: Vec<(AppName, Option<AppRollout>)> = apps
        .iter()
        .zip(0..)
        .map(|(app, index)| {
            let open = !shut.contains_key(app);
            (app.clone(), open.then(|| rollout_of(ports, request, (&plan, &live), app, index)).flatten())
        })
        .collect();
    blockers.extend(shut.iter().map(|(app, closed)| format!("closed: {app} is {closed}")));
    blockers.extend(apps.iter().filter_map(|app| Some(format!("paused: {app} {}", request.paused.get(app)?))));
    let secrets = if stale.is_none() { secret_blockers(ports, &rollouts) } else { Vec::new() };
    blockers.extend(secrets.iter().cloned());
    // A commit that changes nothing needs nobody's word. One whose rollout had begun goes on: half a release is worse.
    let asked_before = apps.iter().all(|app| gate.passed.contains(app));
    let checks = if apps.is_empty() || asked_before || stale.is_some() { &[][..] } else { &request.checks };
    let red = not_green(checks, &desired.environment, &desired.commit).await;
    blockers.extend(red.iter().cloned());
    ports.tell(SyncEventKind::Planned {
        changes: apps.iter().map(|app| app_changes(&plan, app).count() as u32).sum(),
        blockers: blockers.clone(),
        closed: shut.into_keys().collect(),
        seal: plan.seal.to_string(),
        migrated: migrated(&desired, &live),
    });
    if stale.is_some() || !secrets.is_empty() || !red.is_empty() {
        return Passed::Stopped;
    }
    let Some(cleared) = cleared(ports, request, &plan, !apps.is_empty()) else { return Passed::Awaits };
    let begins = rollouts.iter().any(|(app, rollout)| rollout.is_some() && !operator.leaves_out(app));
    if begins && let Err(most) = operator.begins() {
        ports.tell(SyncEventKind::WaitsForTurn { most });
        operator.wait_for_turn().await;
        return Passed::Waited;
    }
    // A commit is released by what begins. Where something stands in the way of all, the word is good for this plan alone.
    if begins && let (Cleared::Approved(by), Some(approving)) = (cleared, &mut asked.approving) {
        ports.tell(SyncEventKind::Approved { seal: plan.seal.to_string(), by });
        // What is left to do after another look is a part of what was agreed to.
        approving.released = Some(plan.commit.clone());
    }
    if let Some(word) = gate.word.take() {
        ports.tell(word);
    }
    for (app, rollout) in rollouts {
        let Some(rollout) = rollout.filter(|_| !operator.leaves_out(&app)) else {
            ports.tell(SyncEventKind::AppEnded { app: app.clone(), result: AppResult::Blocked });
            ends.insert(app, AppResult::Blocked);
            continue;
        };
        let end = roll_out(ports, rollout, operator).await;
        quarantine(ports, &plan, &app, &end);
        if end.overtaken && may_turn {
            ends.remove(&app);
            return Passed::Overtaken;
        }
        ends.insert(app, end.result);
    }
    Passed::Through { blocked: !blockers.is_empty() }
}

/// Returns the ids of desired migrations that a host's ledger has.
fn migrated(desired: &DesiredState, live: &LiveState) -> Vec<String> {
    let ledgers = live.hosts.values().filter_map(|host| match host {
        LiveHost::Reached { report, .. } => report.ledger.seen(),
        LiveHost::Unreachable { .. } => None,
    });
    let ran: BTreeSet<&String> = ledgers.flat_map(|ledger| &ledger.migrations).collect();
    let components = desired.hosts.values().flat_map(|host| host.apps.values()).flat_map(|app| &app.components);
    let wanted: BTreeSet<&String> =
        components.filter_map(|component| component.migrate.as_ref()).map(|migrate| &migrate.id).collect();
    wanted.into_iter().filter(|id| ran.contains(id)).cloned().collect()
}

/// Why a plan may be applied.
enum Cleared {
    /// Nobody's word is needed.
    Free,
    /// These people agreed to it.
    Approved(Vec<String>),
}

/// Returns why the plan that was made just now may be applied; `None` where it waits for people, and tells for whom.
fn cleared(ports: &Ports, request: &SyncRequest, plan: &Plan, changes: bool) -> Option<Cleared> {
    let Some(approving) = &request.approving else { return Some(Cleared::Free) };
    let (environment, commit) = (plan.environment.clone(), plan.commit.clone());
    let proposal = Proposal { environment: environment.clone(), commit, seal: plan.seal };
    let case = Case {
        proposal: &proposal,
        changes,
        authors: &approving.authors,
        given: &approving.given,
        released: approving.released.as_ref(),
    };
    match clearance(Some(&approving.rule), &case) {
        Clearance::Free => Some(Cleared::Free),
        Clearance::Approved(by) => Some(Cleared::Approved(by.into_iter().collect())),
        Clearance::Awaits { given, required } => {
            let approvers = approving.rule.approvers.keys().cloned().collect();
            let given = given.into_iter().collect();
            let seal = plan.seal.to_string();
            ports.tell(SyncEventKind::AwaitsApproval { environment, seal, given, required, approvers });
            None
        }
    }
}

/// What windows mean for one sync. They are looked at when it begins: what begins in time goes on to its end.
struct Gate {
    began: Timestamp,
    /// Apps that may go on: a rollout to this commit had begun.
    passed: BTreeSet<AppName>,
    /// That a person overrides windows: told when something is about to change.
    word: Option<SyncEventKind>,
}

impl Gate {
    /// Returns the apps that must not change, and why.
    fn shut(&mut self, request: &SyncRequest, apps: &[AppName]) -> BTreeMap<AppName, Closed> {
        let mut shut = closed_apps(&request.desired.sync.windows, apps, self.began);
        shut.retain(|app, _| !self.passed.contains(app));
        match &request.windows {
            WindowConsent::None => {}
            WindowConsent::Manual => shut.retain(|_, closed| !closed.manual),
            WindowConsent::Override { by, reason } => {
                let windows: BTreeSet<String> = shut.values().map(ToString::to_string).collect();
                let apps: Vec<AppName> = std::mem::take(&mut shut).into_keys().collect();
                if !apps.is_empty() {
                    self.passed.extend(apps.iter().cloned());
                    let windows = windows.into_iter().collect();
                    let (by, reason) = (by.clone(), reason.clone());
                    self.word = Some(SyncEventKind::WindowOverridden { apps, by, reason, windows });
                }
            }
        }
        shut
    }
}

/// What former and other managers had left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Something was finished: the hosts are to be looked at again.
    pub(crate) any: bool,
    /// Releases of the desired commit that failed by themselves while they were finished.
    failed: BTreeSet<Quarantined>,
    /// Apps whose rollout to the desired commit had begun.
    begun: BTreeSet<AppName>,
    /// Apps that another manager, which lives, rolls out now.
    pub(crate) foreign: BTreeMap<AppName, String>,
}

/// How long, and how often, is looked whether a rollout's manager has really gone: a killed one's connections take a moment to end.
const GONE: (u32, Duration) = (60, Duration::from_millis(250));

/// Between the beginning of a transaction and its being followed lies a moment, after which one that lives is not taken for dead.
const FOLLOWS: Duration = Duration::from_millis(500);

/// Follows what a former manager left to its end. What one that lives still follows is left to it.
pub(crate) async fn finish_unfinished(
    ports: &Ports,
    desired: &DesiredState,
    specs: &BTreeMap<&HostName, &HostSpec>,
    live: &LiveState,
    operator: &mut Operator,
) -> Left {
    let mut left = Left::default();
    let mut open = unfinished(&desired.environment, specs, live);
    let young = |host: &Unfinished| host.outcome.is_none() && host.phase == Phase::Prepare && !host.followed;
    if open.iter().any(|(_, _, hosts)| hosts.iter().any(young)) {
        left.any = true;
        ports.clock.sleep(FOLLOWS).await;
        open = unfinished(&desired.environment, specs, &observe_desired(ports, desired).await);
    }
    for _ in 0..GONE.0 {
        if !open.iter().any(|(_, _, hosts)| is_foreign(hosts)) {
            break;
        }
        left.any = true;
        ports.clock.sleep(GONE.1).await;
        open = unfinished(&desired.environment, specs, &observe_desired(ports, desired).await);
    }
    for (app, release, hosts) in open {
        if let Some(host) = hosts.iter().find(|host| host.followed) {
            left.foreign.insert(app, theirs(&release, host));
            continue;
        }
        left.any = true;
        let same = hosts.iter().all(|host| host.commit == desired.commit.to_string());
        let end = resume(ports, app.clone(), release.clone(), hosts, operator).await;
        if same {
            left.begun.insert(app.clone());
        }
        if let Some(reason) = failure(&end).filter(|_| same) {
            let content = app_digest(desired, &app);
            let text = content.to_string();
            ports.tell(SyncEventKind::Quarantined { app: app.clone(), release, reason: reason.clone(), content: text });
            left.failed.insert(Quarantined { app, content, reason });
        }
    }
    left
}

/// Returns what to say about an app that another manager rolls out.
fn theirs(release: &str, host: &Unfinished) -> String {
    let at = &host.host.name;
    let name = if host.manager.is_empty() { String::new() } else { format!(", `{}`,", host.manager) };
    let since = if host.since == Timestamp(0) { String::new() } else { format!(" since {}", host.since) };
    format!(
        "is rolled out to {release} by another manager{name}{since} ({at} says): let it end, or say `holdfast promote` or `holdfast abort` there"
    )
}

fn is_foreign(hosts: &[Unfinished]) -> bool {
    hosts.iter().any(|host| host.followed)
}

fn planned(request: &SyncRequest, live: &LiveState, now: Timestamp) -> Plan {
    let options = PlanOptions {
        observed_at: now,
        quarantined: &request.quarantined,
        migrated: &request.migrated,
        allow_prune: request.allow_prune,
        adopt: request.adopt,
    };
    plan(&request.desired, live, &options)
}

fn stale(request: &SyncRequest, plan: &Plan) -> Option<String> {
    match request.expected.as_ref()? {
        Expected::Seal(seal) if *seal == plan.seal => None,
        Expected::Seal(seal) => Some(format!(
            "the approved plan (seal {}) is stale: now it would be {}; look at the new plan and approve that",
            seal.short(),
            plan.seal.short()
        )),
        Expected::Plan(saved) => staleness(saved, plan)
            .map(|stale| format!("the saved plan is stale: {}; make and review a new one", stale.moved.join("; "))),
    }
}

/// Returns whether a blocker concerns what is to be synced.
fn concerns(request: &SyncRequest, blocker: &Blocker) -> bool {
    match (&request.only, &blocker.app) {
        (Some(only), Some(app)) => only == app,
        _ => true,
    }
}

fn line(blocker: &Blocker) -> String {
    format!("{}: {}", blocker.code, blocker.message)
}

fn app_changes<'a>(plan: &'a Plan, app: &'a AppName) -> impl Iterator<Item = (&'a HostName, &'a Change)> {
    plan.hosts
        .iter()
        .flat_map(|(name, host)| host.changes.iter().map(move |change| (name, change)))
        .filter(move |(_, change)| change.app == *app)
}

/// Returns the apps that change, those git no longer has last.
fn changed_apps(request: &SyncRequest, plan: &Plan) -> Vec<AppName> {
    let mut apps: Vec<AppName> = plan
        .hosts
        .values()
        .flat_map(|host| host.changes.iter().map(|change| change.app.clone()))
        .filter(|app| request.only.as_ref().is_none_or(|only| only == app))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    apps.sort_by_key(|app| plan.apps.get(app).is_none_or(|known| known.release.is_none()));
    apps
}

/// Returns the secrets that cannot be had, or cannot be written where a template prints them, as blockers.
///
/// A plan needs no key and so cannot know. It is asked for all apps together: a commit with a value that cannot be written changes
/// nothing, whether that value is secret or not.
fn secret_blockers(ports: &Ports, rollouts: &[(AppName, Option<AppRollout>)]) -> Vec<String> {
    let hosts = rollouts.iter().filter_map(|(_, rollout)| rollout.as_ref()).flat_map(|rollout| &rollout.hosts);
    let drafts = hosts.filter_map(|(host, (_, payload))| match payload {
        Payload::Draft(draft) => Some((host, draft)),
        Payload::Complete(_) => None,
    });
    drafts
        .flat_map(|(host, draft)| {
            secret_problems(ports, draft).into_iter().map(move |problem| format!("secret: on {host}, {problem}"))
        })
        .collect()
}

/// Returns what is to be done about an app; `None` when it must not begin.
fn rollout_of(
    ports: &Ports,
    request: &SyncRequest,
    (plan, live): (&Plan, &LiveState),
    app: &AppName,
    index: u64,
) -> Option<AppRollout> {
    let desired = &request.desired;
    if request.paused.contains_key(app) {
        return None;
    }
    let hosts = hosts_to_change(desired, plan, app)?;
    let migrating = app_changes(plan, app)
        .find(|(_, change)| matches!(change.key, ResourceKey::Migration(_)))
        .map(|(host, _)| host.clone());
    let waves = waves(&hosts, migrating.as_ref(), &desired.rollout);
    let fleet = FleetShape { hosts: hosts.len() as u32, waves: waves.len() as u32 };
    let fence = next_fence(live) + index;
    let word = word(ports.clock.now(), chance());
    let mut payloads = BTreeMap::new();
    for host in &hosts {
        let (Some(LiveHost::Reached { hello, report }), Some(wanted), Some(changes)) =
            (live.hosts.get(host), desired.hosts.get(host), plan.hosts.get(host))
        else {
            return None;
        };
        let changes = &changes.changes;
        let now = ports.clock.now();
        let input = CompileInput { desired, app, host, changes, hello, live: report, fence, sync: &word, fleet, now };
        let draft = compile(&input)?;
        payloads.insert(host.clone(), (wanted.host.clone(), Payload::Draft(Box::new(draft))));
    }
    let release = plan.apps.get(app).and_then(|known| known.release.clone()).unwrap_or_else(|| "removed".to_owned());
    let policy = FleetPolicy::new(&desired.rollout, migrating);
    Some(AppRollout { app: app.clone(), release, hosts: payloads, waves, policy })
}

/// Returns the hosts on which an app changes now, in rollout order; `None` when it must not begin.
///
/// A host that something stands in the way of is left out and comes later, but not with all or nothing, and not when it is the one
/// that migrates: the others would serve a release whose tables are not there.
fn hosts_to_change(desired: &DesiredState, plan: &Plan, app: &AppName) -> Option<Vec<HostName>> {
    let has = |host: &HostName| desired.hosts.get(host).is_some_and(|wanted| wanted.apps.contains_key(app));
    if desired.rollout.all_or_nothing && plan.order.iter().any(|host| has(host) && plan.is_blocked(host, app)) {
        return None;
    }
    let migrates = |change: &Change| matches!(change.key, ResourceKey::Migration(_));
    if app_changes(plan, app).any(|(host, change)| migrates(change) && plan.is_blocked(host, app)) {
        return None;
    }
    let changing: BTreeSet<&HostName> = app_changes(plan, app).map(|(host, _)| host).collect();
    let hosts: Vec<HostName> =
        plan.order.iter().filter(|host| changing.contains(*host) && !plan.is_blocked(host, app)).cloned().collect();
    (!hosts.is_empty()).then_some(hosts)
}

/// Returns a fence above that of every host.
pub(crate) fn next_fence(live: &LiveState) -> u64 {
    let fences = live.hosts.values().map(|host| match host {
        LiveHost::Reached { hello, report } => hello.fence.max(report.fence),
        LiveHost::Unreachable { .. } => 0,
    });
    fences.max().unwrap_or_default() + 1
}

/// Returns a word unique to one rollout, also among managers that know nothing of each other: the time and a chance, in base 36.
pub(crate) fn word(now: Timestamp, chance: u64) -> String {
    let digits = |mut number: u64| {
        let mut text = Vec::new();
        loop {
            text.push(char::from_digit((number % 36) as u32, 36).expect("BUG: a digit of base 36"));
            number /= 36;
            if number == 0 {
                break;
            }
        }
        text.into_iter().rev().collect::<String>()
    };
    // Five digits.
    format!("{}x{}", digits(now.0), digits(chance % 36_u64.pow(5)))
}

/// Returns a number that no other process, and no other call, is likely to have.
pub(crate) fn chance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Says that a release is not tried again: it failed by itself, or a person sent it back. What failed because of a machine is tried
/// again.
fn quarantine(ports: &Ports, plan: &Plan, app: &AppName, end: &AppEnd) {
    let Some(known) = plan.apps.get(app) else { return };
    let Some(release) = &known.release else { return };
    if let Some(reason) = failure(end) {
        let (app, release, content) = (app.clone(), release.clone(), known.content.to_string());
        ports.tell(SyncEventKind::Quarantined { app, release, reason, content });
    }
}

/// Returns why a release is not to be tried again; `None` when it is as good as before.
fn failure(end: &AppEnd) -> Option<String> {
    let failed = end.hosts.iter().find_map(|(host, end)| {
        let failure = end.failed.as_ref().filter(|failure| !failure.environmental)?;
        (end.outcome != Some(Outcome::Done)).then(|| format!("on {host}, {}", failure.text))
    });
    let sent_back = || (end.aborted && end.result != AppResult::Done).then(|| "its rollout was aborted".to_owned());
    failed.or_else(sent_back)
}

/// Returns whether a plan finds nothing to do about the apps that were applied; says what it finds.
fn is_clean(ports: &Ports, request: &SyncRequest, live: &LiveState, ends: &BTreeMap<AppName, AppResult>) -> bool {
    let plan = planned(request, live, ports.clock.now());
    let mut clean = true;
    for app in ends.iter().filter(|(_, result)| **result == AppResult::Done).map(|(app, _)| app) {
        // What was kept long enough only since the hosts were looked at is the next sync's.
        let left = app_changes(&plan, app).filter(|(_, change)| !change.is_housekeeping());
        for (host, change) in left.filter(|(host, _)| !plan.is_blocked(host, app)) {
            clean = false;
            let (symbol, key, rule) = (change.action.symbol(), &change.key, &change.rule);
            let error = format!("it was applied, and yet there is something to do: {symbol} {key} ({rule})");
            ports.tell(SyncEventKind::HostTrouble { app: Some(app.clone()), host: host.clone(), error });
        }
    }
    clean
}

fn result(ends: &BTreeMap<AppName, AppResult>, blocked: bool, clean: bool) -> SyncResult {
    let any = |wanted: &[AppResult]| ends.values().any(|result| wanted.contains(result));
    if !clean || any(&[AppResult::Stuck, AppResult::Partial]) {
        SyncResult::Failed
    } else if any(&[AppResult::RolledBack]) {
        SyncResult::RolledBack
    } else if blocked || any(&[AppResult::Blocked]) {
        SyncResult::Blocked
    } else if ends.is_empty() {
        SyncResult::NoChange
    } else {
        SyncResult::Synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_short_and_no_two_are_the_same() {
        assert_eq!(word(Timestamp(0), 0), "0x0");
        assert_eq!(word(Timestamp(36), 35), "10xz");
        assert!(word(Timestamp(1_795_000_000_000), u64::MAX).len() <= 14);
        let now = Timestamp(1_795_000_000_000);
        assert_ne!(word(now, chance()), word(now, chance()));
    }

    #[test]
    fn the_worst_end_names_the_sync() {
        let ends = |results: &[AppResult]| -> BTreeMap<AppName, AppResult> {
            let name = |index| format!("app-{index}").parse().unwrap();
            results.iter().enumerate().map(|(index, result)| (name(index), *result)).collect()
        };
        assert_eq!(result(&ends(&[]), false, true), SyncResult::NoChange);
        assert_eq!(result(&ends(&[]), true, true), SyncResult::Blocked);
        assert_eq!(result(&ends(&[AppResult::Done]), false, true), SyncResult::Synced);
        assert_eq!(result(&ends(&[AppResult::Done]), false, false), SyncResult::Failed);
        assert_eq!(result(&ends(&[AppResult::Done, AppResult::RolledBack]), false, true), SyncResult::RolledBack);
        assert_eq!(result(&ends(&[AppResult::RolledBack, AppResult::Partial]), false, true), SyncResult::Failed);
    }
}
