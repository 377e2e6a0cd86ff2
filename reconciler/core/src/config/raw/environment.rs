//! `environments/<env>/environment.yaml`.

use super::certificate::{Certificate, CertificateName};
use super::leaf::Scalar;
use super::secrets::Secrets;
use super::selector::Selector;
use super::values::Values;
use super::window::Window;
use crate::config::decode::{Context, Decode, Must, Named, PlainValue, Whole, integer_of, record};
use crate::config::model::{DriftPolicy, Purpose, SyncMode};
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};
use crate::time::Millis;

record!(
    /// `environments/<env>/environment.yaml`: where an environment runs and how it changes.
    Environment, "an environment", {
    /// Its hosts: labels, or a list of names.
    hosts: Must<At<Selector>>,
    /// What it is for: `production`, `staging` or `development`. Placeholders for secrets and tags that may move are for `development`
    /// alone, debug switches are not for `production`. Default: `production`.
    purpose: Option<Purpose>,
    /// When and how it is synced.
    sync: Option<Sync>,
    /// How a change rolls over its hosts.
    rollout: Option<Rollout>,
    /// When changes may begin, and when not. Default: at any time.
    windows: Option<Vec<At<Window>>>,
    /// Secrets that are generated, and secrets that must not change by chance.
    secrets: Option<Secrets>,
    /// Certificates of its sites by name: a component names one with `certificate`.
    certificates: Option<Named<CertificateName, Certificate>>,
    /// The oldest versions its hosts may have, such as `{ docker: ">=24" }`.
    requires: Option<Requires>,
    /// Variables for its templates.
    variables: Option<Values>,
});

record!(
    /// The oldest versions that hosts may have. A host that is older, or does not have it, is left as it is.
    Requires, "`requires`", {
    /// The Docker engine.
    docker: Option<Minimum>,
    /// The compose plugin.
    compose: Option<Minimum>,
    /// nginx.
    nginx: Option<Minimum>,
    /// systemd.
    systemd: Option<Minimum>,
    /// PostgreSQL's client programs.
    postgresql_client: Option<Minimum>,
    /// The kernel.
    kernel: Option<Minimum>,
    /// Debian itself.
    debian: Option<Minimum>,
});

/// The oldest version that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Minimum(pub(crate) Vec<u64>);

crate::config::decode::parsed!(
    Minimum,
    "an oldest version such as >=24",
    "^>=[0-9]{1,9}(\\.[0-9]{1,9}){0,3}$",
    |text| {
        let shown: String = text.chars().take(40).collect();
        let fail = || format!("`{}` is no oldest version: write such as `\">=2.20\"`", shown.escape_debug());
        let numbers = text.strip_prefix(">=").ok_or_else(fail)?;
        let number = |part: &str| {
            let plain = !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u64>().ok().filter(|_| plain).ok_or_else(fail)
        };
        let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Result<_, _>>()?;
        if numbers.len() > 4 { Err(fail()) } else { Ok(Self(numbers)) }
    }
);

record!(
    /// When and how an environment is synced.
    Sync, "`sync`", {
    /// `manual`: by `holdfast apply`; `automatic`: by the daemon on every new commit. Default: `automatic`.
    mode: Option<SyncMode>,
    /// What is done about drift: `off`, `report` or `heal`. Default: `report`.
    drift: Option<DriftPolicy>,
    /// Patterns of resource keys that diff and drift leave alone, with `*`, `**` and `?`.
    ignore: Option<Vec<At<Scalar>>>,
    /// Percent of the environment's resources that one sync may prune without `--allow-prune`. Default: 30.
    prune_limit_percent: Option<Whole<0, 100>>,
});

record!(
    /// How a change rolls over hosts.
    Rollout, "`rollout`", {
    /// Hosts that go first, alone. Default: 1.
    canary: Option<Whole<0, 10_000>>,
    /// Hosts of each later wave, or a share of the environment's hosts such as `25%`. Default: 1.
    max_unavailable: Option<MaxUnavailable>,
    /// Whether any failure puts every host back. Default: `false`.
    all_or_nothing: Option<bool>,
    /// Whether to wait for `holdfast promote` after the canary wave. Default: `false`.
    pause_after_canary: Option<bool>,
    /// How long a host with a proven idle slot waits for the others before it abandons. Default: `15m`.
    ready_deadline: Option<Millis>,
    /// How long a host waits for word over a new connection after a change that can cut the manager off, before it undoes it.
    /// Default: `2m`.
    confirm_within: Option<Millis>,
});

/// A number of hosts, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxUnavailable {
    /// Hosts.
    Count(u32),
    /// Percent, rounded down, at least one host.
    Percent(u32),
}

impl Decode for MaxUnavailable {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        if let Kind::Scalar { text, plain } = &node.kind
            && PlainValue::of(text, *plain) == PlainValue::Text
        {
            let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
            return match number {
                Some(percent @ 1..=100) => Some(Self::Percent(percent)),
                _ => cx.bad_value(node, "it takes a number of hosts or a share of them", "write `2` or `25%`"),
            };
        }
        integer_of(node, 1, 10_000, cx).map(Self::Count)
    }
}

impl schemars::JsonSchema for MaxUnavailable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxUnavailable".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 10_000 },
                { "type": "string", "pattern": "^(100|[1-9][0-9]?)%$" },
            ]
        })
    }
}
