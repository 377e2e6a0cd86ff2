//! `holdfast.yaml`.

use super::environment::{Rollout, Sync};
use super::values::Values;
use crate::config::decode::{Must, Whole, record};
use crate::config::place::At;

record!(
    /// `holdfast.yaml` at the root of the repository: its format and what holds for every environment.
    Holdfast, "holdfast.yaml", {
    /// Version of the repository's format. This release of Holdfast reads version 1.
    format: Must<At<Whole<0, 4_294_967_295>>>,
    /// What environments do when they do not say otherwise.
    defaults: Option<Defaults>,
    /// Variables for all templates; the weakest.
    variables: Option<Values>,
});

record!(
    /// What environments do when they do not say otherwise.
    Defaults, "the defaults", {
    /// When and how environments are synced.
    sync: Option<Sync>,
    /// How changes roll over hosts.
    rollout: Option<Rollout>,
});
