use std::collections::BTreeMap;

/// The files of one commit that Holdfast reads, as bytes. Built by the engine straight from git objects, bounded in count and size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTree {
    /// By path from the root, with `/`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Entries that were refused while reading, by path.
    pub problems: Vec<TreeProblem>,
}

/// An entry of a tree that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeProblem {
    /// Its path.
    pub path: String,
    /// A stable word: `symlink`, `submodule`, `odd-name`, `too-large`, `too-many`, `too-deep`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}
