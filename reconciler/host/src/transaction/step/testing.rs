//! A bench for steps: a host in a temporary folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_protocol::{TransactionKind, TransactionSpec};

use super::Work;
use crate::disk::Disk;
use crate::paths::{Root, System};
use crate::transaction::host::Host;

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) host: Host,
    spec: TransactionSpec,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().join("lib"));
        root.prepare().unwrap();
        let host = Host {
            root,
            system: System::real(),
            run: folder.path().join("run"),
            disk: Disk::new(),
            backoff: Duration::ZERO,
            ended: crate::transaction::status::Ended::default(),
        };
        Self { folder, host, spec: spec("t1") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn work(&self) -> Work<'_> {
        Work {
            host: &self.host,
            spec: &self.spec,
            component: "web",
            deadline: Instant::now() + Duration::from_secs(20),
            stop: &|| false,
            tell: &|_| (),
        }
    }

    /// Who the test runs as, by number.
    pub(crate) fn user() -> String {
        rustix::process::getuid().as_raw().to_string()
    }

    pub(crate) fn group() -> String {
        rustix::process::getgid().as_raw().to_string()
    }
}

/// A transaction without steps.
pub(crate) fn spec(id: &str) -> TransactionSpec {
    TransactionSpec {
        id: id.parse().unwrap(),
        fence: 1,
        app: "prod/shop".to_owned(),
        release: "v1".to_owned(),
        commit: "c".to_owned(),
        kind: TransactionKind::Apply,
        prepare: Vec::new(),
        ready_deadline_ms: 20_000,
        promote: Vec::new(),
        watch: Vec::new(),
        settled_gate: false,
        settled_deadline_ms: 20_000,
        settle: Vec::new(),
        one_way: Vec::new(),
        confirm_within_ms: None,
    }
}

/// A folder's files and their contents, for comparison.
pub(crate) fn tree(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
                found.insert(format!("{}/", path.strip_prefix(folder).unwrap().display()), Vec::new());
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
