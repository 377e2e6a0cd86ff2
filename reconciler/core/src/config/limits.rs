//! How much of a repository is read. Each bound is far above honest use and far below what hurts the management box.

/// Bytes of one file. The largest honest one is a template of a few dozen KiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Files of one commit below the folders Holdfast reads.
pub const MAX_FILES: usize = 20_000;

/// Bytes of all SQL files of one migration: they go to the host in one message of 8 MiB at the most, with room for escapes.
pub const MAX_SQL_BYTES: usize = 2 << 20;

/// Bytes of all files of one commit together: they are held in memory while a commit is looked at.
pub const MAX_TREE_BYTES: usize = 64 << 20;

/// Folders inside folders. Holdfast itself asks for three.
pub const MAX_TREE_DEPTH: usize = 16;

/// Bytes of one path from the repository's root: the `PATH_MAX` of a host is 4096 and must hold a prefix too.
pub const MAX_PATH_BYTES: usize = 1024;

/// Lists and maps inside each other in one YAML file. Bounds every recursion over a document.
pub const MAX_YAML_DEPTH: usize = 48;

/// Values of one YAML document after aliases were followed: 20,000 hosts of ten lines fit.
pub const MAX_YAML_NODES: usize = 250_000;

/// Bytes of all scalars of one YAML document after aliases were followed. Stops an alias bomb made of long texts.
pub const MAX_YAML_TEXT_BYTES: usize = 8 << 20;

/// Bytes of one scalar: room for a certificate chain or an encrypted key, not for a disk image.
pub const MAX_SCALAR_BYTES: usize = 256 << 10;

/// Windows of one environment: each is followed through years to find when something opens.
pub const MAX_WINDOWS: usize = 32;

/// Findings that are kept. A generated file can be wrong on every line; nobody reads more than this.
pub const MAX_DIAGNOSTICS: usize = 500;
