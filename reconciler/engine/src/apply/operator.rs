use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::id::{AppName, EnvironmentName};
use tokio::sync::{Notify, mpsc};

use super::turns::{Turn, Turns};

/// What a person says to a running rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorWord {
    /// Which app; `None` for whatever runs.
    pub app: Option<AppName>,
    /// What.
    pub verb: OperatorVerb,
}

/// The verbs of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorVerb {
    /// End what holds the present wave: a pause, or its watch window.
    Promote,
    /// Wait.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Go back.
    Abort,
}

/// What becomes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A rollout that it is meant for runs and hears it.
    Yes,
    /// A sync runs, but no rollout that it is meant for. It is kept for this sync where it can still count: an app that is paused
    /// or aborted before its turn is left out.
    NotRolling,
    /// A rollout that it is meant for runs, but nothing of it is paused and no watch window is open: there is nothing to promote, and the
    /// word is dropped.
    NothingHeld,
    /// The sync has just ended.
    Ended,
}

/// Returns what to say to who promotes where there is nothing to promote.
pub fn nothing_held(environment: &EnvironmentName) -> String {
    format!("the rollout in {environment} goes on by itself: nothing is paused and no watch window is open")
}

/// Returns what to say of a sync that waits for its turn.
fn waits_its_turn(most: u32) -> String {
    let are = if most == 1 { "another environment is" } else { "other environments are" };
    format!("{are} being changed, and no more than {most} at once (`rollouts` of the manager's configuration)")
}

/// What both ends know.
#[derive(Debug, Default)]
struct Desk {
    /// The app that rolls out now.
    rolling: Option<AppName>,
    /// Apps whose turn must not come in this sync.
    left_out: BTreeSet<AppName>,
    /// Everything was aborted: what has not begun does not.
    aborted: bool,
    /// What the rollout waits for a person with.
    held: Option<String>,
    /// Whether there is anything to promote.
    promotable: bool,
}

/// Where words are spoken into. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OperatorHandle {
    words: mpsc::UnboundedSender<OperatorWord>,
    desk: Arc<Mutex<Desk>>,
    /// Something was left out of what has not begun.
    left_out: Arc<Notify>,
}

/// Where words are heard.
#[derive(Debug)]
pub struct Operator {
    words: mpsc::UnboundedReceiver<OperatorWord>,
    desk: Arc<Mutex<Desk>>,
    left_out: Arc<Notify>,
    /// Whether anybody may still speak.
    open: bool,
    /// Whose turn it is to begin something; `None` where nobody waits for others.
    turn: Option<Turn>,
}

/// Returns both ends.
pub fn operator() -> (OperatorHandle, Operator) {
    let (sender, words) = mpsc::unbounded_channel();
    let desk = Arc::<Mutex<Desk>>::default();
    let left_out = Arc::<Notify>::default();
    let handle = OperatorHandle { words: sender, desk: Arc::clone(&desk), left_out: Arc::clone(&left_out) };
    (handle, Operator { words, desk, left_out, open: true, turn: None })
}

impl OperatorHandle {
    /// Says a word. Returns whether a sync is there to hear it.
    pub fn say(&self, word: OperatorWord) -> Heard {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if self.words.is_closed() {
            return Heard::Ended;
        }
        desk.aborted |= word.app.is_none() && word.verb == OperatorVerb::Abort;
        if matches!(word.verb, OperatorVerb::Pause | OperatorVerb::Abort) {
            self.left_out.notify_waiters();
        }
        let meant = desk.rolling.is_some() && word.app.as_ref().is_none_or(|app| desk.rolling.as_ref() == Some(app));
        if meant && word.verb == OperatorVerb::Promote && !desk.promotable {
            return Heard::NothingHeld;
        }
        if meant {
            return if self.words.send(word).is_ok() { Heard::Yes } else { Heard::Ended };
        }
        if let Some(app) = word.app {
            match word.verb {
                OperatorVerb::Pause | OperatorVerb::Abort => desk.left_out.insert(app),
                OperatorVerb::Resume | OperatorVerb::Promote => desk.left_out.remove(&app),
            };
        }
        Heard::NotRolling
    }

    /// Returns what a rollout that waits for a person waits for, and what to type; `None` while it does not wait.
    pub fn held(&self) -> Option<String> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).held.clone()
    }
}

impl Operator {
    /// Has what begins wait for its turn.
    #[must_use]
    pub fn in_turn(mut self, turns: Turns) -> Self {
        self.turn = Some(Turn::of(turns));
        self
    }

    /// Begins if that needs no waiting; otherwise returns how many others have the turns.
    pub(crate) fn begins(&mut self) -> Result<(), u32> {
        let Some(turn) = &mut self.turn else { return Ok(()) };
        if turn.begin() { Ok(()) } else { Err(turn.most()) }
    }

    /// Waits until [`Operator::begins`] would succeed, or somebody says that something is not to begin.
    pub(crate) async fn wait_for_turn(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        let hold = |hint: Option<String>| self.desk.lock().unwrap_or_else(PoisonError::into_inner).held = hint;
        hold(Some(waits_its_turn(turn.most())));
        tokio::select! {
            () = turn.wait() => {}
            () = self.left_out.notified() => {}
        }
        hold(None);
    }

    /// Says whether anything of the rollout starts: while nothing does, it is another environment's turn.
    pub(super) fn costs(&mut self, something_starts: bool) {
        if let Some(turn) = &mut self.turn {
            turn.costs(something_starts);
        }
    }

    /// Says how the rollout stands: what it waits for a person with, and whether there is anything to promote.
    pub(super) fn stand(&self, hint: Option<&str>, promotable: bool) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.promotable = promotable;
        if desk.held.as_deref() != hint {
            desk.held = hint.map(str::to_owned);
        }
    }

    /// Returns the next word for the app that rolls out; never returns when nobody can speak any more. Safe to cancel.
    pub(super) async fn next(&mut self) -> OperatorVerb {
        if !self.open {
            std::future::pending::<()>().await;
        }
        if let Some(word) = self.words.recv().await {
            return word.verb;
        }
        self.open = false;
        std::future::pending().await
    }

    /// An app rolls out from now on: words reach it.
    pub(super) fn begin(&mut self, app: &AppName) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        // What was meant for the one before came too late for it, and is not for this one.
        while self.words.try_recv().is_ok() {}
        desk.rolling = Some(app.clone());
        drop(desk);
        // Staging costs as much as what follows.
        self.costs(true);
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        (desk.rolling, desk.held, desk.promotable) = (None, None, false);
    }

    /// Returns whether an app must not begin any more in this sync.
    pub(crate) fn leaves_out(&self, app: &AppName) -> bool {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.aborted || desk.left_out.contains(app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(app: Option<&str>, verb: OperatorVerb) -> OperatorWord {
        OperatorWord { app: app.map(|app| app.parse().unwrap()), verb }
    }

    #[tokio::test]
    async fn words_reach_the_rollout_they_are_meant_for() {
        let (handle, mut operator) = operator();
        let [shop, mail]: [AppName; 2] = ["shop".parse().unwrap(), "mail".parse().unwrap()];
        assert_eq!(handle.say(word(None, OperatorVerb::Promote)), Heard::NotRolling);
        operator.begin(&shop);
        assert_eq!(handle.say(word(Some("mail"), OperatorVerb::Pause)), Heard::NotRolling);
        assert_eq!(handle.say(word(Some("shop"), OperatorVerb::Pause)), Heard::Yes);
        assert_eq!(operator.next().await, OperatorVerb::Pause);
        assert_eq!(handle.say(word(None, OperatorVerb::Promote)), Heard::NothingHeld);
        operator.stand(Some("held"), true);
        assert_eq!(handle.held().as_deref(), Some("held"));
        assert_eq!(handle.say(word(None, OperatorVerb::Promote)), Heard::Yes);
        assert_eq!(operator.next().await, OperatorVerb::Promote);
        assert_eq!(handle.say(word(None, OperatorVerb::Resume)), Heard::Yes);
        operator.end();
        assert!(operator.leaves_out(&mail) && !operator.leaves_out(&shop));
        // The late word of the one before is not heard by the next.
        operator.begin(&mail);
        assert_eq!(handle.say(word(Some("mail"), OperatorVerb::Abort)), Heard::Yes);
        assert_eq!(operator.next().await, OperatorVerb::Abort);
        drop(operator);
        assert_eq!(handle.say(word(None, OperatorVerb::Abort)), Heard::Ended);
    }

    #[test]
    fn one_word_to_all_stops_what_has_not_begun() {
        let (handle, operator) = operator();
        let shop: AppName = "shop".parse().unwrap();
        assert!(!operator.leaves_out(&shop));
        handle.say(word(None, OperatorVerb::Abort));
        assert!(operator.leaves_out(&shop));
    }
}
