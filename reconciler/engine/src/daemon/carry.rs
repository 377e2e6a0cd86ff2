use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::event::{SyncEvent, SyncResult};
use holdfast_core::id::EnvironmentName;
use holdfast_core::schedule::SyncVerdict;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::control::ControlReply;
use super::event::{DaemonEvent, Looks, Ran, Response, StoreChange, Token};
use super::run::{Parts, Voice};
use super::watch;
use crate::apply::{Heard, OperatorHandle, Turns, nothing_held, operator};
use crate::ports::EventSink;

/// Those who see the events of each environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Audience(Arc<Mutex<BTreeMap<EnvironmentName, Vec<mpsc::Sender<ControlReply>>>>>);

impl Audience {
    fn join(&self, environment: EnvironmentName, replies: mpsc::Sender<ControlReply>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(environment).or_default().push(replies);
    }

    fn show(&self, environment: &EnvironmentName, event: &SyncEvent) {
        let mut audience = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seats) = audience.get_mut(environment) else { return };
        seats.retain(|seat| {
            let reply = ControlReply::Event { environment: environment.clone(), event: event.clone() };
            // One who does not keep up misses events, and the work goes on.
            !matches!(seat.try_send(reply), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }
}

/// The event sink of one environment's jobs.
struct Stage {
    environment: EnvironmentName,
    audience: Audience,
}

impl EventSink for Stage {
    fn emit(&self, event: &SyncEvent) {
        self.audience.show(&self.environment, event);
    }
}

/// Carries responses out. A panic in a job is its failure, never the daemon's. What takes time runs in tasks that end with this value.
pub(super) struct Carrier {
    parts: Parts,
    events: mpsc::UnboundedSender<DaemonEvent>,
    audience: Audience,
    turns: Turns,
    tasks: JoinSet<()>,
    operators: BTreeMap<EnvironmentName, OperatorHandle>,
    /// What is being written down: a job that reads it begins afterwards.
    writing: Vec<oneshot::Receiver<()>>,
    watches: BTreeMap<EnvironmentName, JoinSet<()>>,
    pub(super) connections: BTreeMap<Token, (mpsc::Sender<ControlReply>, u32)>,
}

impl Carrier {
    pub(super) fn new(parts: Parts, turns: Turns, events: mpsc::UnboundedSender<DaemonEvent>) -> Self {
        Self {
            parts,
            events,
            audience: Audience::default(),
            turns,
            tasks: JoinSet::new(),
            operators: BTreeMap::new(),
            writing: Vec::new(),
            watches: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// Carries one response out. [`Response::Status`] and [`Response::Exit`] are the caller's.
    pub(super) fn carry(&mut self, response: Response) {
        // Tasks that have ended are forgotten.
        while self.tasks.try_join_next().is_some() {}
        let events = self.events.clone();
        match response {
            Response::Look(last) => {
                let repository = Arc::clone(&self.parts.repository);
                self.tasks.spawn(async move {
                    let work = async move { repository.look(last).await };
                    // A look that panicked says nothing about any environment; the next one is due in its time.
                    let looks = AbortOnDropHandle::new(tokio::spawn(work)).await.unwrap_or_else(|error| Looks {
                        fetched: Err(format!("the look itself failed: {error}")),
                        environments: BTreeMap::new(),
                    });
                    drop(events.send(DaemonEvent::Looked(looks)));
                });
            }
            Response::Start(job) => {
                let (handle, operator) = operator();
                let waits = job.kind.waits_for_others();
                let operator = if waits { operator.in_turn(self.turns.clone()) } else { operator };
                self.operators.insert(job.environment.clone(), handle.clone());
                let syncer = Arc::clone(&self.parts.syncer);
                let stage = Stage { environment: job.environment.clone(), audience: self.audience.clone() };
                tracing::info!(environment = %job.environment, commit = job.kind.commit().short(), cause = job.kind.cause(), "begins");
                let writing = std::mem::take(&mut self.writing);
                self.tasks.spawn(async move {
                    for written in writing {
                        // An error says that it was written, too.
                        let _ = written.await;
                    }
                    let work = {
                        let job = job.clone();
                        async move { syncer.run(&job, (handle, operator), Arc::new(stage)).await }
                    };
                    let ran = AbortOnDropHandle::new(tokio::spawn(work)).await.unwrap_or_else(|error| Ran {
                        result: SyncResult::Failed,
                        reason: format!("the sync itself failed: {error}"),
                        verdict: SyncVerdict::TryAgain,
                        awaits: None,
                        released: None,
                    });
                    tracing::info!(environment = %job.environment, result = ?ran.result, reason = %ran.reason, "ended");
                    drop(events.send(DaemonEvent::Ran(job, ran)));
                });
            }
            Response::Check(environment, commit) => {
                let syncer = Arc::clone(&self.parts.syncer);
                self.tasks.spawn(async move {
                    let work = {
                        let environment = environment.clone();
                        async move { syncer.check(&environment, &commit).await }
                    };
                    let checked = AbortOnDropHandle::new(tokio::spawn(work)).await;
                    let checked = checked.unwrap_or_else(|error| Err(format!("the check itself failed: {error}")));
                    if let Err(reason) = &checked {
                        tracing::warn!(%environment, %reason, "the hosts could not be compared with git");
                    }
                    drop(events.send(DaemonEvent::Checked(environment, checked)));
                });
            }
            Response::Backups(environment, commit) => {
                let syncer = Arc::clone(&self.parts.syncer);
                self.tasks.spawn(async move {
                    let work = {
                        let environment = environment.clone();
                        async move { syncer.backups(&environment, &commit).await }
                    };
                    let told = AbortOnDropHandle::new(tokio::spawn(work)).await;
                    let told = told.unwrap_or_else(|error| Err(format!("the look itself failed: {error}")));
                    if let Err(reason) = &told {
                        tracing::warn!(%environment, %reason, "the backups could not be looked after");
                    }
                    drop(events.send(DaemonEvent::BackedUp(environment, told)));
                });
            }
            Response::Approve(token, environment, seal, name) => {
                let Some((_, uid)) = self.connections.get(&token) else { return };
                let voice = Voice { uid: *uid, name };
                let syncer = Arc::clone(&self.parts.syncer);
                self.tasks.spawn(async move {
                    let work = {
                        let environment = environment.clone();
                        async move { syncer.approve(&environment, &seal, voice).await }
                    };
                    let judged = AbortOnDropHandle::new(tokio::spawn(work)).await;
                    let judged = judged.unwrap_or_else(|error| Err(format!("the approval itself failed: {error}")));
                    drop(events.send(DaemonEvent::Approved(token, environment, judged)));
                });
            }
            Response::Tell(told) => {
                let syncer = Arc::clone(&self.parts.syncer);
                self.tasks.spawn(async move { syncer.tell(told).await });
            }
            Response::Say(token, environment, word) => {
                let heard = self.operators.get(&environment).map_or(Heard::Ended, |handle| handle.say(word));
                let Some(token) = token else { return };
                let reply = match heard {
                    // What no rollout hears now is kept for the rest of the sync.
                    Heard::Yes | Heard::NotRolling => ControlReply::Done,
                    Heard::NothingHeld => ControlReply::Refused { reason: nothing_held(&environment) },
                    Heard::Ended => ControlReply::Refused { reason: format!("nothing runs in {environment}") },
                };
                self.carry(Response::Reply(token, reply));
            }
            Response::Watch(environment, watched) => {
                // The old set ends before the new one begins.
                self.watches.remove(&environment);
                let tasks = watch::hosts(&environment, watched, &self.parts.connector, &self.parts.clock, &events);
                self.watches.insert(environment, tasks);
            }
            Response::Store(change) => {
                let store = self.parts.store.clone();
                let (written, writing) = oneshot::channel::<()>();
                self.writing.retain_mut(|other| matches!(other.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
                self.writing.push(writing);
                self.tasks.spawn(async move {
                    let done = match change {
                        StoreChange::Seen(environment, commit, at) => store.see_commit(&environment, &commit, at).await,
                        StoreChange::Suspended(pause) => store.pause(pause).await,
                        StoreChange::Resumed(environment, app) => {
                            store.resume(&environment, app.as_ref()).await.map(drop)
                        }
                    };
                    if let Err(error) = done {
                        tracing::error!(%error, "this will be forgotten at the next start");
                    }
                    drop(written);
                });
            }
            Response::Reply(token, mut reply) => {
                if let ControlReply::Status { environments, .. } = &mut reply {
                    for one in environments {
                        let held = self.operators.get(&one.environment).and_then(OperatorHandle::held);
                        one.running.iter_mut().for_each(|running| running.held.clone_from(&held));
                    }
                }
                let last = reply.is_last();
                if let Some((connection, _)) = self.connections.get(&token) {
                    // A reader that has not taken thousands of lines is cut off by the end of its sender below.
                    let _ = connection.try_send(reply);
                }
                if last {
                    self.connections.remove(&token);
                }
            }
            Response::Stream(token, environment) => {
                if let Some((connection, _)) = self.connections.get(&token) {
                    self.audience.join(environment, connection.clone());
                }
            }
            Response::Note(text) => tracing::warn!("{text}"),
            Response::Status(_) | Response::Exit => {}
        }
    }

    /// Ends all tasks and waits for them.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
        for (_, mut watch) in std::mem::take(&mut self.watches) {
            watch.shutdown().await;
        }
    }
}
