//! What wakes the daemon besides its own timers.

use std::path::{Path, PathBuf};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::event::DaemonEvent;

/// Watches the references of a repository on this machine. `None`, with a warning, when that is not possible: polling remains.
pub(super) fn repository(git_dir: &Path, events: mpsc::UnboundedSender<DaemonEvent>) -> Option<RecommendedWatcher> {
    let told = |error: &notify::Error| tracing::warn!(%error, path = %git_dir.display(), "references are not watched, only polled");
    let root = git_dir.to_owned();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if concerns(&root, &event) => drop(events.send(DaemonEvent::RepositoryChanged)),
        Ok(_) => {}
        // Events may have been lost: look.
        Err(_) => drop(events.send(DaemonEvent::RepositoryChanged)),
    });
    let mut watcher = watcher.inspect_err(told).ok()?;
    watcher.watch(git_dir, RecursiveMode::NonRecursive).inspect_err(told).ok()?;
    watcher.watch(&git_dir.join("refs"), RecursiveMode::Recursive).inspect_err(told).ok()?;
    Some(watcher)
}

/// Returns whether a file event can mean that a reference moved. Lock files come and go around every change; reading is nothing.
fn concerns(git_dir: &Path, event: &notify::Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    let refs = git_dir.join("refs");
    let roots: [PathBuf; 2] = [git_dir.join("HEAD"), git_dir.join("packed-refs")];
    event.paths.iter().any(|path| {
        let lock = path.extension().is_some_and(|extension| extension == "lock");
        !lock && (path.starts_with(&refs) || roots.contains(path))
    })
}

/// Turns signals into events: SIGHUP looks, SIGTERM and SIGINT end.
pub(super) async fn signals(events: mpsc::UnboundedSender<DaemonEvent>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let event = tokio::select! {
            _ = hangup.recv() => DaemonEvent::RepositoryChanged,
            _ = terminate.recv() => DaemonEvent::Stop,
            _ = interrupt.recv() => DaemonEvent::Stop,
        };
        if events.send(event).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, RenameMode};

    use super::*;

    #[test]
    fn a_moved_reference_counts_and_the_noise_around_it_does_not() {
        let root = Path::new("/srv/ops.git");
        let event = |kind, path: &str| notify::Event {
            kind,
            paths: vec![root.join(path)],
            attrs: notify::event::EventAttributes::new(),
        };
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(notify::event::ModifyKind::Name(RenameMode::To));
        assert!(concerns(root, &event(renamed, "refs/heads/main")));
        assert!(concerns(root, &event(renamed, "packed-refs")));
        for noise in ["refs/heads/main.lock", "FETCH_HEAD", "config", "packed-refs.lock", "objects"] {
            assert!(!concerns(root, &event(created, noise)), "{noise}");
        }
        assert!(!concerns(root, &event(EventKind::Access(AccessKind::Read), "refs/heads/main")));
    }
}
