//! A file of a component.

use serde::{Deserialize, Serialize};

use super::Located;

/// One more file of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Absolute destination; `{{ slot }}` may stand in it for components with slots.
    pub path: Located<String>,
    /// Template path below `templates/`.
    pub template: Located<String>,
    /// How values are quoted.
    pub format: FileFormat,
    /// Permission bits. A file with a secret is 0600 unless this is stricter.
    pub mode: u32,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// What the component's units do when it changes.
    pub on_change: OnChange,
}

/// What units do when a file changes that they read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// They start anew.
    #[default]
    Restart,
    /// They read it again.
    Reload,
}

/// A destination's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Bytes as they are.
    Plain,
    /// A compose `env_file`.
    ComposeEnv,
    /// A systemd `EnvironmentFile`.
    SystemdEnv,
    /// An nginx configuration.
    Nginx,
    /// A systemd unit.
    Systemd,
    /// A compose file.
    Compose,
}
