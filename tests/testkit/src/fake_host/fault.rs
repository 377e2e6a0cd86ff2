use std::time::Duration;

/// Something that goes wrong on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When. Each fault happens once.
    pub at: FaultPoint,
    /// The runner is killed. It starts again by itself after a moment, as its unit does.
    pub crash: bool,
    /// Every channel to the host breaks, and none can be opened for this long.
    pub cut: Option<Duration>,
}

/// A moment in the life of a host, counted in journal entries over all its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// Instead of writing this entry: an effect may have happened that nobody wrote down.
    Before(u64),
    /// Right after it was written.
    After(u64),
}
