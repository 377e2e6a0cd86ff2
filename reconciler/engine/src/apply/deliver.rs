use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::id::digest_of;
use holdfast_core::render::{Content, RevealError, Revealed};
use holdfast_core::rollout::{Draft, FileKey, MissingContent, finish};
use holdfast_protocol::{
    Action, Digest, FaultKind, Hidden, ImageArchive, ObserveRequest, Observed, Reply, Request, StageProblem,
    StaticQuery, StaticRecord, TransactionSpec,
};
use tokio::io::AsyncReadExt;

use crate::observe::unexpected;
use crate::ports::{HostLink, LinkError, Ports, SecretError};

use super::Payload;

/// Bytes of one piece: well below the largest frame.
const PIECE: usize = 1 << 20;

/// For one small request.
const ANSWER: Duration = Duration::from_secs(30);

/// Staging asks nginx, systemd and compose, on a machine that may be slow.
const STAGE: Duration = Duration::from_secs(120);

/// Times the whole delivery is tried when the channel breaks: everything in it is idempotent.
const TRIES: u32 = 3;

/// A staged transaction.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) spec: Box<TransactionSpec>,
    /// Bytes of content sent.
    pub(super) bytes: u64,
}

/// Why a transaction could not be staged. Nothing has changed on the host.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    #[error("{path} of component `{component}`{place}: {source}")]
    Reveal { component: String, path: String, place: String, source: Box<RevealError<SecretError>> },
    #[error("{0}")]
    Archive(String),
    #[error(transparent)]
    Draft(#[from] MissingContent),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the host found problems")]
    Problems(Vec<StageProblem>),
}

impl DeliverError {
    /// Returns whether another manager was there first.
    pub(super) fn is_overtaken(&self) -> bool {
        match self {
            Self::Link(LinkError::Fault { fault, .. }) => matches!(fault.kind, FaultKind::Fenced | FaultKind::Busy),
            _ => false,
        }
    }
}

/// Reveals, sends and stages. Revealed content lives as long as this call.
pub(super) async fn deliver(ports: &Ports, host: &HostSpec, payload: Payload) -> Result<Delivered, DeliverError> {
    let (spec, blobs) = match payload {
        Payload::Complete(spec) => (spec, BTreeMap::new()),
        Payload::Draft(draft) => reveal(ports, *draft)?,
    };
    let mut tries = 0;
    loop {
        match send(ports, host, &spec, &blobs).await {
            Ok(bytes) => return Ok(Delivered { spec, bytes }),
            Err(DeliverError::Link(LinkError::Lost { .. })) if tries < TRIES => {
                tries += 1;
                ports.clock.sleep(Duration::from_millis(500 << tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

type Blobs = BTreeMap<Digest, Revealed>;

fn reveal(ports: &Ports, draft: Draft) -> Result<(Box<TransactionSpec>, Blobs), DeliverError> {
    let mut digests: BTreeMap<FileKey, Digest> = BTreeMap::new();
    let mut blobs = BTreeMap::new();
    for (key, content) in draft.files() {
        let revealed = reveal_file(ports, key, content)?;
        let digest = digest_of(revealed.bytes.expose());
        digests.insert(key.clone(), digest);
        blobs.insert(digest, revealed);
    }
    Ok((Box::new(finish(draft, &digests)?), blobs))
}

/// Returns what is wrong with the secrets of a draft; empty when each can be had and written where it stands.
///
/// Asked for every app before the first host changes: a value that cannot be written shows only here, not in a plan.
pub(crate) fn secret_problems(ports: &Ports, draft: &Draft) -> Vec<String> {
    let files = draft.files().iter().filter(|(_, content)| content.has_secret());
    files.filter_map(|(key, content)| reveal_file(ports, key, content).err()).map(|error| error.to_string()).collect()
}

fn reveal_file(ports: &Ports, key: &FileKey, content: &Content) -> Result<Revealed, DeliverError> {
    content.reveal(&mut |secret| ports.secrets.reveal(secret)).map_err(|source| {
        let (RevealError::Source { name, .. } | RevealError::Unwritable { name, .. }) = &source;
        let place = content.secret_place(name).map_or_else(String::new, |place| format!(", {place}"));
        let (component, path) = (key.component.clone(), key.path.clone());
        DeliverError::Reveal { component, path, place, source: Box::new(source) }
    })
}

async fn send(ports: &Ports, host: &HostSpec, spec: &TransactionSpec, blobs: &Blobs) -> Result<u64, DeliverError> {
    let link = ports.connector.connect(host).await?;
    let mut bytes = 0;
    // First of all: what a host holds it may only hold with the knowledge of what in it is secret.
    for (digest, revealed) in blobs.iter().filter(|(_, revealed)| !revealed.hidden.is_empty()) {
        mask(link.as_ref(), host, *digest, revealed).await?;
    }
    if !blobs.is_empty() {
        let missing = match link.call(Request::Missing(blobs.keys().copied().collect()), ANSWER).await? {
            Reply::Missing(missing) => missing,
            other => return Err(unexpected(host, &other).into()),
        };
        for digest in missing {
            // A host can only miss what it was asked for.
            if let Some(blob) = blobs.get(&digest) {
                let content = blob.bytes.expose();
                put(link.as_ref(), host, digest, content).await?;
                bytes += content.len() as u64;
            }
        }
    }
    bytes += send_archives(ports, link.as_ref(), host, spec).await?;
    bytes += send_statics(ports, link.as_ref(), host, spec).await?;
    match link.call(Request::Stage(Box::new(spec.clone())), STAGE).await? {
        Reply::Staged(problems) if problems.is_empty() => Ok(bytes),
        Reply::Staged(problems) => Err(DeliverError::Problems(problems)),
        other => Err(unexpected(host, &other).into()),
    }
}

/// Sends each archive of which the host lacks an image, and returns how many bytes that were.
async fn send_archives(
    ports: &Ports,
    link: &dyn HostLink,
    host: &HostSpec,
    spec: &TransactionSpec,
) -> Result<u64, DeliverError> {
    let archives: Vec<&ImageArchive> = spec
        .prepare
        .iter()
        .flat_map(|step| match &step.action {
            Action::Images { archives, .. } => archives.as_slice(),
            _ => &[],
        })
        .collect();
    if archives.is_empty() {
        return Ok(0);
    }
    let named = archives.iter().flat_map(|archive| archive.images.iter());
    let images: BTreeSet<&String> = named.flat_map(|(image, ids)| std::iter::once(image).chain(ids)).collect();
    let question = ObserveRequest { images: images.into_iter().cloned().collect(), ..ObserveRequest::default() };
    let report = match link.call(Request::Observe(question), ANSWER).await? {
        Reply::Observed(report) => report,
        other => return Err(unexpected(host, &other).into()),
    };
    let seen = |name: &String| report.images.get(name).and_then(Observed::seen);
    let mut bytes = 0;
    for archive in archives {
        let is_here = |(image, ids): (&String, &BTreeSet<String>)| {
            seen(image).is_some_and(|id| ids.contains(id)) || ids.iter().any(|id| seen(id).is_some())
        };
        if archive.images.iter().all(is_here) {
            continue;
        }
        bytes += put_archive(link, host, (archive.blob, archive.size), &ports.archives.join(&archive.file)).await?;
    }
    Ok(bytes)
}

/// Sends the archive of each release of static files that the host has not whole, and returns how many bytes that were.
async fn send_statics(
    ports: &Ports,
    link: &dyn HostLink,
    host: &HostSpec,
    spec: &TransactionSpec,
) -> Result<u64, DeliverError> {
    let wanted: Vec<&StaticRecord> = spec
        .prepare
        .iter()
        .filter_map(|step| match &step.action {
            Action::StaticUnpack(record) => Some(record),
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    let query = |record: &&StaticRecord| StaticQuery { path: record.path.clone(), release: record.release };
    let question = ObserveRequest { statics: wanted.iter().map(query).collect(), ..ObserveRequest::default() };
    let report = match link.call(Request::Observe(question), ANSWER).await? {
        Reply::Observed(report) => report,
        other => return Err(unexpected(host, &other).into()),
    };
    let mut bytes = 0;
    for record in wanted {
        let seen = report.statics.get(&record.path).and_then(Observed::seen);
        if seen.is_some_and(|live| live.unpacked && live.changed.is_empty()) {
            continue;
        }
        let path = ports.archives.join(&record.archive);
        bytes += put_archive(link, host, (record.release, record.size), &path).await?;
    }
    Ok(bytes)
}

/// Sends an archive piece by piece where it is missing, when the host has room for it; the host checks the whole. Returns how many
/// bytes that were.
async fn put_archive(
    link: &dyn HostLink,
    host: &HostSpec,
    (digest, size): (Digest, u64),
    path: &Path,
) -> Result<u64, DeliverError> {
    match link.call(Request::Missing(vec![digest]), ANSWER).await? {
        Reply::Missing(missing) if missing.is_empty() => return Ok(0),
        Reply::Missing(_) => {}
        other => return Err(unexpected(host, &other).into()),
    }
    let failed = |error: std::io::Error| {
        DeliverError::Archive(format!("the archive {} cannot be sent: {error}", path.display()))
    };
    match link.call(Request::Room { digest, size }, ANSWER).await? {
        Reply::Stored => {}
        other => return Err(unexpected(host, &other).into()),
    }
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut offset = 0;
    while offset < size {
        let mut bytes = vec![0; PIECE.min(usize::try_from(size - offset).unwrap_or(PIECE))];
        file.read_exact(&mut bytes).await.map_err(failed)?;
        let next = offset + bytes.len() as u64;
        match link.call(Request::PutBlob { digest, offset, bytes, last: next == size }, ANSWER).await? {
            Reply::Stored => offset = next,
            other => return Err(unexpected(host, &other).into()),
        }
    }
    Ok(size)
}

async fn mask(link: &dyn HostLink, host: &HostSpec, blob: Digest, revealed: &Revealed) -> Result<(), LinkError> {
    let values = revealed.hidden.iter().map(|text| Hidden(text.expose().clone().into_bytes())).collect();
    match link.call(Request::Mask { blob, values }, ANSWER).await? {
        Reply::Stored => Ok(()),
        other => Err(unexpected(host, &other)),
    }
}

async fn put(link: &dyn HostLink, host: &HostSpec, digest: Digest, blob: &[u8]) -> Result<(), LinkError> {
    let mut offset = 0;
    loop {
        let end = (offset + PIECE).min(blob.len());
        let last = end == blob.len();
        let bytes = blob[offset..end].to_vec();
        match link.call(Request::PutBlob { digest, offset: offset as u64, bytes, last }, ANSWER).await? {
            Reply::Stored => {}
            other => return Err(unexpected(host, &other)),
        }
        if last {
            return Ok(());
        }
        offset = end;
    }
}
