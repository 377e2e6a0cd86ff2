//! What a Redis is to have set while it runs, as written to the model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::place::At;
use super::{raw, settings};
use crate::diag::Origin;

/// What the Redis of a component is to have set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisPlan {
    /// The compose service.
    pub service: String,
    /// The file with its password as it is written, with `{{ dir }}` in it.
    pub password_file: Option<String>,
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// Returns what a Redis is to have set, or nothing after a finding.
pub(super) fn redis(
    at: &At<raw::RedisServer>,
    component: &raw::Component,
    findings: &mut Findings<'_>,
) -> Option<RedisPlan> {
    let before = findings.len();
    let written = &at.value;
    if component.compose.is_none() && !component.wrong.any(&["compose"]) {
        let message = "`redis` names a compose service, and the component has no `compose`";
        findings.error_at("bad-redis", at, message, "give it to the component with the Redis");
    }
    if component.strategy.as_ref().is_some_and(|strategy| strategy.value.has_slots()) {
        let message = "the Redis of a component with slots would be two";
        findings.error_at("bad-redis", at, message, "give the component with the Redis the strategy `stateful`");
    }
    let set = written.settings.iter().flat_map(|named| &named.entries);
    let set = set.filter_map(|entry| Some((&entry.name, entry.value.as_ref()?)));
    let settings = settings::settings(set, |name| &name.0, ("bad-redis", settings::refused_by_redis), findings);
    (findings.len() == before).then(|| RedisPlan {
        service: written.service.0.clone(),
        password_file: written.password_file.as_ref().map(|at| at.value.0.clone()),
        settings,
        origin: at.origin(),
    })
}
