use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Action, AppRecord, ComponentRecord, Digest, FilePut, FileRecord, Slot, Step, TransactionSpec};

use crate::id::DigestWriter;
use crate::render::Content;

/// Names one file of an app on one host before its bytes are known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileKey {
    /// Component.
    pub component: String,
    /// Slot, when it is in one.
    pub slot: Option<Slot>,
    /// Absolute path.
    pub path: String,
}

impl FileKey {
    /// Returns what stands in a draft where the content's digest will be. No content can have it but by breaking SHA-256.
    pub(super) fn stand_in(&self) -> Digest {
        DigestWriter::new()
            .field("holdfast draft file")
            .field(&self.component)
            .field(self.slot.map_or("", Slot::as_str))
            .field(&self.path)
            .finish()
    }
}

/// A transaction whose files are named but have no digest yet: content with secrets has no bytes before it is revealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    spec: TransactionSpec,
    files: BTreeMap<FileKey, Content>,
}

impl Draft {
    /// Returns a draft; only the content that the specification names is kept.
    pub(super) fn new(spec: TransactionSpec, files: BTreeMap<FileKey, Content>) -> Self {
        let mut named = BTreeSet::new();
        let mut seen = spec.clone();
        each_digest(&mut seen, &mut |digest| {
            named.insert(*digest);
        });
        let files = files.into_iter().filter(|(key, _)| named.contains(&key.stand_in())).collect();
        Self { spec, files }
    }

    /// Returns the content that must be revealed, and stored on the host, before the transaction is staged.
    pub fn files(&self) -> &BTreeMap<FileKey, Content> {
        &self.files
    }

    /// Returns the specification with stand-ins for digests, to look at.
    pub fn spec(&self) -> &TransactionSpec {
        &self.spec
    }
}

/// A file of the draft was given no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the content of {path} in component `{component}` was not revealed")]
pub struct MissingContent {
    /// Component.
    pub component: String,
    /// Path.
    pub path: String,
}

/// Returns the transaction with the digests of the revealed content.
///
/// # Errors
/// [`MissingContent`] when one is missing: reveal everything [`Draft::files`] names.
pub fn finish(draft: Draft, digests: &BTreeMap<FileKey, Digest>) -> Result<TransactionSpec, MissingContent> {
    let mut real = BTreeMap::new();
    for key in draft.files.keys() {
        let digest = digests
            .get(key)
            .ok_or_else(|| MissingContent { component: key.component.clone(), path: key.path.clone() })?;
        real.insert(key.stand_in(), *digest);
    }
    let mut spec = draft.spec;
    each_digest(&mut spec, &mut |digest| {
        if let Some(found) = real.get(digest) {
            *digest = *found;
        }
    });
    Ok(spec)
}

fn each_digest(spec: &mut TransactionSpec, visit: &mut impl FnMut(&mut Digest)) {
    let lists = [&mut spec.prepare, &mut spec.promote, &mut spec.watch, &mut spec.settle];
    for step in lists.into_iter().flat_map(|list: &mut Vec<Step>| list.iter_mut()) {
        in_action(&mut step.action, visit);
    }
}

fn in_action(action: &mut Action, visit: &mut impl FnMut(&mut Digest)) {
    match action {
        Action::PutFile(FilePut { blob, .. }) => visit(blob),
        Action::NginxTest { put, .. } => put.iter_mut().for_each(|file| visit(&mut file.blob)),
        Action::OnUndo(inner) => in_action(inner, visit),
        Action::Record(Some(record)) => in_record(record, visit),
        _ => {}
    }
}

fn in_record(record: &mut AppRecord, visit: &mut impl FnMut(&mut Digest)) {
    for component in record.components.values_mut() {
        let ComponentRecord { files, slots, .. } = component;
        let slotted = slots.values_mut().flat_map(|slot| slot.files.values_mut());
        files.values_mut().chain(slotted).for_each(|file: &mut FileRecord| visit(&mut file.digest));
    }
}
