use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::event::{AppResult, BACKUP, IMAGES, PORTS_FREE, PREFLIGHT, SyncEventKind};
use holdfast_core::id::{AppName, HostName};
use holdfast_core::rollout::{Fleet, FleetCommand, FleetEvent};
use holdfast_protocol::{
    Action, Decision, JournalEntry, JournalEvent, Outcome, Phase, Request, Step, TransactionId, TransactionSpec,
    UNCONFIRMED,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::ports::Ports;

use super::follow::{Message, begin_and_follow};
use super::operator::{Operator, OperatorVerb};
use super::tell::{Told, confirm, decide};
use super::{AppEnd, HostEnd, StepFailure, Unfinished};

/// Entries that may wait to be looked at; a host that writes faster is slowed down.
const INBOX: usize = 1024;

/// Times a refused confirmation is tried again.
const CONFIRM_TRIES: u32 = 4;

/// Who decided, in a journal, when a manager did.
const MANAGER: &str = "manager";

/// How the titles of steps end that only the machine can fail in.
const MACHINE: [&str; 3] = [PREFLIGHT, PORTS_FREE, IMAGES];

/// One host of a running rollout.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) host: HostSpec,
    id: TransactionId,
    fence: u64,
    /// Known when this manager staged it.
    spec: Option<TransactionSpec>,
    /// Entries up to this phase were known when the rollout was resumed: they are shown, not acted on.
    known_until: Option<Phase>,
    confirmation: Confirmation,
    titles: BTreeMap<(Phase, u32), String>,
    /// We sent it back.
    sent_back: bool,
    /// Another manager sent it back, or did not let it begin.
    overtaken: bool,
    /// It goes back: what fails from here on is no fault of the release.
    undoing: bool,
    end: HostEnd,
}

/// Where the dead man's switch of a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    /// It has none.
    None,
    /// It will ask.
    Due,
    /// Being confirmed. When `settled`, the host is at its gate and that is not told before.
    Asked { settled: bool },
}

impl Member {
    pub(super) fn staged(host: HostSpec, spec: TransactionSpec) -> Self {
        let confirmation = if spec.confirm_within_ms.is_some() { Confirmation::Due } else { Confirmation::None };
        let (id, fence) = (spec.id.clone(), spec.fence);
        let spec = Some(spec);
        Self {
            host,
            id,
            fence,
            spec,
            known_until: None,
            confirmation,
            titles: BTreeMap::new(),
            sent_back: false,
            overtaken: false,
            undoing: false,
            end: HostEnd::default(),
        }
    }

    pub(super) fn resumed(one: Unfinished) -> Self {
        Self {
            host: one.host,
            id: one.id,
            fence: one.fence,
            spec: None,
            known_until: one.outcome.is_none().then_some(one.phase),
            confirmation: if one.confirms { Confirmation::Due } else { Confirmation::None },
            titles: BTreeMap::new(),
            sent_back: false,
            overtaken: false,
            undoing: false,
            end: HostEnd { outcome: one.outcome, ..HostEnd::default() },
        }
    }

    /// Notes what an entry says about a failure of the host's own.
    fn note(&mut self, entry: &JournalEntry) {
        match &entry.event {
            JournalEvent::Intent { phase, step, title, .. } => {
                self.titles.insert((*phase, *step), title.clone());
            }
            JournalEvent::Entered { phase: Phase::Undo } => self.undoing = true,
            // Of one that somebody before us sent back, too, this says all there is to know.
            JournalEvent::Decided { decision: Decision::GoBack, by } if by == MANAGER && self.spec.is_some() => {
                self.overtaken |= !self.sent_back;
            }
            JournalEvent::Failed { phase, step, error, .. }
                if self.end.failed.is_none() && !self.undoing && !self.sent_back && !self.overtaken =>
            {
                let title = self.titles.get(&(*phase, *step)).map_or("a step", String::as_str);
                let environmental = if let Some(step) = self.step(*phase, *step) {
                    matches!(step.action, Action::Preflight { .. } | Action::Images { .. } | Action::Backup(_))
                } else {
                    // A former manager's, of which only the words are known.
                    let words = title.split_once(": ").map_or(title, |(_, words)| words);
                    *phase == Phase::Prepare
                        && (MACHINE.iter().any(|known| words.ends_with(known)) || words.starts_with(BACKUP))
                };
                self.end.failed = Some(StepFailure { text: format!("`{title}` failed: {error}"), environmental });
            }
            // Ours, and we were there to confirm it: it is the change that kept us out. Of one that a manager before us began, who
            // can say?
            JournalEvent::Decided { decision: Decision::GoBack, by } if by == UNCONFIRMED && self.spec.is_some() => {
                let text =
                    "it could not be confirmed over a new connection: the change cuts the manager off".to_owned();
                self.end.failed = Some(StepFailure { text, environmental: false });
            }
            JournalEvent::Ended { outcome, reason } => {
                self.end.outcome = Some(*outcome);
                self.end.reason.clone_from(reason);
            }
            _ => {}
        }
    }

    fn step(&self, phase: Phase, step: u32) -> Option<&Step> {
        let spec = self.spec.as_ref()?;
        let list = match phase {
            Phase::Prepare => &spec.prepare,
            Phase::Promote => &spec.promote,
            Phase::Watch => &spec.watch,
            Phase::Settle => &spec.settle,
            Phase::Ready | Phase::Settled | Phase::Undo | Phase::Ended => return None,
        };
        list.get(step as usize)
    }
}

/// A rollout under way.
pub(super) struct Drive<'a> {
    ports: &'a Ports,
    app: AppName,
    members: BTreeMap<HostName, Member>,
    fleet: Fleet,
    result: Option<AppResult>,
    aborted: bool,
    /// What a person is waited for with.
    hint: String,
    /// Whether the hosts' transactions exist already.
    resumed: bool,
    inbox: (mpsc::Sender<Message>, mpsc::Receiver<Message>),
    /// What is said to hosts, and their journals being read. Ends with the rollout.
    tasks: JoinSet<()>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(ports: &'a Ports, app: AppName, members: BTreeMap<HostName, Member>, fleet: Fleet) -> Self {
        let resumed = members.values().any(|member| member.spec.is_none());
        let inbox = mpsc::channel(INBOX);
        Self {
            ports,
            app,
            members,
            fleet,
            result: None,
            aborted: false,
            hint: String::new(),
            resumed,
            inbox,
            tasks: JoinSet::new(),
        }
    }

    /// Returns when every host has ended or is lost.
    pub(super) async fn run(mut self, operator: &mut Operator) -> AppEnd {
        if self.resumed {
            let open: Vec<_> = self.members.values().filter(|member| member.end.outcome.is_none()).collect();
            let open: Vec<HostName> = open.into_iter().map(|member| member.host.name.clone()).collect();
            for host in open {
                self.begin(&host);
            }
        }
        self.advance(&FleetEvent::Staged);
        let result = loop {
            if let Some(result) = self.result {
                break result;
            }
            operator.costs(self.fleet.is_starting());
            operator.stand(self.fleet.is_paused().then_some(self.hint.as_str()), self.fleet.can_promote());
            tokio::select! {
                message = self.inbox.1.recv() => {
                    let message = message.expect("BUG: this end of the inbox is kept open");
                    self.hear(message);
                }
                verb = operator.next() => {
                    self.aborted |= verb == OperatorVerb::Abort;
                    self.advance(&match verb {
                        OperatorVerb::Promote => FleetEvent::Promote,
                        OperatorVerb::Pause => FleetEvent::Pause,
                        OperatorVerb::Resume => FleetEvent::Resume,
                        OperatorVerb::Abort => FleetEvent::Abort,
                    });
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = done && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        };
        // Nothing of it is left, and nothing of it failed: the release is as good as before, and the hosts are to be looked at again.
        let failed = self.members.values().any(|member| member.end.failed.is_some());
        let met = self.members.values().any(|member| member.overtaken);
        let overtaken = result == AppResult::RolledBack && met && !failed && !self.aborted;
        let result = if overtaken { AppResult::Blocked } else { result };
        let hosts = self.members.into_iter().map(|(host, member)| (host, member.end)).collect();
        AppEnd { result, hosts, aborted: self.aborted, overtaken }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Entry(host, entry) => self.entry(&host, entry),
            Message::Trouble(host, error) => self.trouble(host, error),
            Message::NotBegun(host, reason) => {
                if let Some(member) = self.members.get_mut(&host) {
                    member.overtaken = true;
                }
                self.trouble(host.clone(), reason.clone());
                self.ended(&host, Outcome::Abandoned, reason);
            }
            Message::Lost(host, error) => {
                self.trouble(host.clone(), format!("{error}; it is not waited for any longer"));
                self.advance(&FleetEvent::Lost(host));
            }
            Message::Confirmed(host) => {
                let Some(member) = self.members.get_mut(&host) else { return };
                let settled = member.confirmation == Confirmation::Asked { settled: true };
                member.confirmation = Confirmation::None;
                if settled {
                    self.advance(&FleetEvent::Entered(host, Phase::Settled));
                }
            }
        }
    }

    fn entry(&mut self, host: &HostName, entry: JournalEntry) {
        let Some(member) = self.members.get_mut(host) else { return };
        let before = member.overtaken;
        member.note(&entry);
        let event = entry.event.clone();
        self.ports.tell(SyncEventKind::Host { app: self.app.clone(), host: host.clone(), entry });
        if member.overtaken && !before {
            self.trouble(host.clone(), "another manager sent it back".to_owned());
        }
        let Some(member) = self.members.get_mut(host) else { return };
        match event {
            JournalEvent::Ended { outcome, reason } => self.ended(host, outcome, reason),
            JournalEvent::Entered { phase } => {
                match member.known_until {
                    Some(known) if known != phase => return,
                    _ => member.known_until = None,
                }
                if self.waits_for_confirmation(host, phase) {
                    return;
                }
                self.advance(&FleetEvent::Entered(host.clone(), phase));
            }
            _ => {}
        }
    }

    /// Sees to the dead man's switch. A host at its last gate is no settled host before it is confirmed.
    fn waits_for_confirmation(&mut self, host: &HostName, phase: Phase) -> bool {
        let Some(member) = self.members.get_mut(host) else { return false };
        match (phase, member.confirmation) {
            (Phase::Watch | Phase::Settled, Confirmation::Due) => {
                member.confirmation = Confirmation::Asked { settled: phase == Phase::Settled };
                self.confirm(host);
                phase == Phase::Settled
            }
            (Phase::Settled, Confirmation::Asked { .. }) => {
                member.confirmation = Confirmation::Asked { settled: true };
                true
            }
            _ => false,
        }
    }

    fn ended(&mut self, host: &HostName, outcome: Outcome, reason: String) {
        if let Some(member) = self.members.get_mut(host) {
            member.end.outcome = Some(outcome);
            member.end.reason.clone_from(&reason);
        }
        let (app, host) = (self.app.clone(), host.clone());
        self.ports.tell(SyncEventKind::HostEnded { app, host: host.clone(), outcome, reason });
        self.advance(&FleetEvent::Ended(host, outcome));
    }

    fn trouble(&self, host: HostName, error: String) {
        self.ports.tell(SyncEventKind::HostTrouble { app: Some(self.app.clone()), host, error });
    }

    fn advance(&mut self, event: &FleetEvent) {
        for command in self.fleet.step(event) {
            match command {
                FleetCommand::Begin(host) => self.begin(&host),
                FleetCommand::Decide { host, decision, reason } => self.decide(host, decision, reason),
                FleetCommand::Pause { hint } => {
                    self.hint.clone_from(&hint);
                    self.ports.tell(SyncEventKind::Paused { app: self.app.clone(), hint });
                }
                FleetCommand::End(result) => self.result = Some(result),
            }
        }
    }

    fn begin(&mut self, host: &HostName) {
        let Some(member) = self.members.get(host) else { return };
        let (ports, to) = (self.ports.clone(), self.inbox.0.clone());
        self.tasks.spawn(begin_and_follow(ports, member.host.clone(), member.id.clone(), to));
    }

    fn decide(&mut self, host: HostName, decision: Decision, reason: String) {
        let Some(member) = self.members.get_mut(&host) else { return };
        member.sent_back |= decision == Decision::GoBack;
        let word = match decision {
            Decision::Promote => "promote",
            Decision::Settle => "settle",
            Decision::GoBack => "go_back",
            Decision::EndWatch => "end_watch",
        };
        let decided =
            SyncEventKind::Decided { app: self.app.clone(), host: host.clone(), decision: word.to_owned(), reason };
        self.ports.tell(decided);
        let request = Request::Decide { id: member.id.clone(), fence: member.fence, decision };
        let (ports, spec, to) = (self.ports.clone(), member.host.clone(), self.inbox.0.clone());
        self.tasks.spawn(async move {
            let error = match decide(&ports, &spec, request).await {
                Told::Done => return,
                Told::Refused(fault) => format!("it does not {}: {fault}", word.replace('_', " ")),
                Told::Lost(error) => error.to_string(),
            };
            let _ = to.send(Message::Trouble(host, error)).await;
        });
    }

    fn confirm(&mut self, host: &HostName) {
        let Some(member) = self.members.get(host) else { return };
        let (ports, spec, id) = (self.ports.clone(), member.host.clone(), member.id.clone());
        let (host, to) = (host.clone(), self.inbox.0.clone());
        let asks = member.spec.is_some();
        self.tasks.spawn(async move {
            let mut tries = 0;
            let message = loop {
                match confirm(&ports, &spec, &id).await {
                    Told::Done => break Message::Confirmed(host),
                    // Its clock may start a moment after its journal says that it waits.
                    Told::Refused(_) if tries < CONFIRM_TRIES => {
                        tries += 1;
                        ports.clock.sleep(Duration::from_millis(200 << tries)).await;
                    }
                    // One of a former manager, which may be past it by now.
                    Told::Refused(_) if !asks => break Message::Confirmed(host),
                    Told::Refused(fault) => break Message::Trouble(host, format!("it takes no confirmation: {fault}")),
                    Told::Lost(error) => break Message::Trouble(host, format!("it could not be confirmed: {error}")),
                }
            };
            let _ = to.send(message).await;
        });
    }
}
