use holdfast_core::id::AppName;
use tokio::sync::mpsc;

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
    /// Go on; or end the watch window.
    Promote,
    /// Wait.
    Pause,
    /// Go back.
    Abort,
}

/// Where words are spoken into. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OperatorHandle(mpsc::UnboundedSender<OperatorWord>);

/// Where words are heard.
#[derive(Debug)]
pub struct Operator {
    words: mpsc::UnboundedReceiver<OperatorWord>,
    /// Whether anybody may still speak.
    open: bool,
    /// Everything was aborted: what has not begun does not.
    pub(crate) aborted: bool,
}

/// Returns both ends.
pub fn operator() -> (OperatorHandle, Operator) {
    let (sender, words) = mpsc::unbounded_channel();
    (OperatorHandle(sender), Operator { words, open: true, aborted: false })
}

impl OperatorHandle {
    /// Says a word. Returns whether a sync is there to hear it.
    pub fn say(&self, word: OperatorWord) -> bool {
        self.0.send(word).is_ok()
    }
}

impl Operator {
    /// Returns the next word for an app; never returns when nobody can speak any more. Safe to cancel.
    pub(super) async fn next(&mut self, app: &AppName) -> OperatorVerb {
        loop {
            if !self.open {
                std::future::pending::<()>().await;
            }
            match self.words.recv().await {
                Some(OperatorWord { app: None, verb }) => {
                    self.aborted |= verb == OperatorVerb::Abort;
                    return verb;
                }
                Some(word) if word.app.as_ref() == Some(app) => return word.verb,
                Some(_) => {}
                None => self.open = false,
            }
        }
    }
}
