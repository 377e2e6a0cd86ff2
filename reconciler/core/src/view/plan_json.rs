//! A plan for programs.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::diag::Origin;
use crate::plan::{Blocker, Change, ComponentPlan, PLAN_FORMAT_VERSION, Plan, ResourceKey, drift};
use crate::render::Provenance;

use super::words::Counts;

/// A plan for programs. Fields are only added within a `format_version`.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Holdfast plan")]
struct PlanView {
    /// Rises when a reader of the former version would misread a plan.
    format_version: u32,
    /// The environment.
    environment: String,
    /// The full commit id.
    commit: String,
    /// When the hosts were observed, in milliseconds since the Unix epoch.
    observed_at_ms: u64,
    /// The plan's identity: 64 hexadecimal digits.
    seal: String,
    /// Whether nothing is to change and nothing stands in the way.
    empty: bool,
    /// How many changes there are.
    summary: SummaryView,
    /// The apps.
    apps: Vec<AppView>,
    /// The hosts in rollout order.
    hosts: Vec<HostView>,
    /// What stands in the way.
    blockers: Vec<BlockerView>,
}

#[derive(Serialize, JsonSchema)]
struct SummaryView {
    /// Things to make.
    add: usize,
    /// Things to make anew.
    replace: usize,
    /// Things to change where they are.
    change: usize,
    /// Things to remove.
    prune: usize,
    /// Things that are as they should be.
    unchanged: usize,
    /// Changes that git did not ask for: the host is not what it was made.
    drifted: usize,
    /// Hosts with changes.
    hosts: usize,
}

#[derive(Serialize, JsonSchema)]
struct AppView {
    /// Its name.
    name: String,
    /// The release git names; `null` when git no longer has the app.
    release: Option<String>,
    /// The identity of its rendered content over all hosts.
    content: String,
}

#[derive(Serialize, JsonSchema)]
struct HostView {
    /// Its name.
    name: String,
    /// Whether it could be looked at.
    observed: bool,
    /// Things that are as they should be.
    unchanged: u32,
    /// The components that change.
    components: Vec<ComponentView>,
    /// The changes in the order of work.
    changes: Vec<ChangeView>,
}

#[derive(Serialize, JsonSchema)]
struct ComponentView {
    /// Its app.
    app: String,
    /// Its name.
    component: String,
    /// `first`, `new_slot`, `in_place`, `destroy_first`, `switch_only` or `remove`.
    approach: Value,
    /// The slot that serves now.
    from_slot: Option<String>,
    /// The slot that serves afterwards.
    to_slot: Option<String>,
    /// The release that serves now; empty when none does.
    from_release: String,
    /// The release that serves afterwards; empty when it is removed.
    to_release: String,
}

#[derive(Serialize, JsonSchema)]
struct ChangeView {
    /// `+`, `~`, `-`, `-/+` or `+/-`.
    symbol: String,
    /// `create`, `update`, `prune`, `replace_destroy_first`, `replace_create_first`, `run` or `switch`.
    action: Value,
    /// `file`, `unit`, `service`, `project`, `switch` or `migration`.
    kind: String,
    /// The thing's name: a path, a unit, `project/service`, a listen address, a migration id.
    name: String,
    /// Its app.
    app: String,
    /// Its component.
    component: String,
    /// Its slot.
    slot: Option<String>,
    /// `desired_changed`, `drifted`, `missing`, `not_in_desired`, `dependency_changed` or `not_running`.
    reason: Value,
    /// The rule that decided.
    rule: String,
    /// Something to show behind it; may be empty.
    note: String,
    /// Unified diff without a file header; empty when there is none to show.
    diff: String,
    /// Where it is declared; `null` for what git no longer has.
    declared: Option<PlaceView>,
    /// Where each value that makes the difference came from.
    because: Vec<ValueView>,
}

#[derive(Serialize, JsonSchema)]
struct PlaceView {
    /// Path from the repository's root.
    file: String,
    /// From 1; 0 for the whole file.
    line: u32,
    /// From 1; 0 for the whole line.
    column: u32,
}

#[derive(Serialize, JsonSchema)]
struct ValueView {
    /// The line of the rendered file.
    output_line: u32,
    /// The value's name in the template.
    field: String,
    /// Where the value is written.
    value: PlaceView,
    /// Where the template uses it.
    template: PlaceView,
}

#[derive(Serialize, JsonSchema)]
struct BlockerView {
    /// A stable word.
    code: String,
    /// The host; `null` when it is about all.
    host: Option<String>,
    /// The app; `null` when it is about the whole host.
    app: Option<String>,
    /// What, where, and what to do.
    message: String,
}

/// Returns a plan for programs; its shape is [`plan_schema`]'s.
pub fn plan_json(plan: &Plan) -> Value {
    let counts = Counts::of(plan);
    let hosts = plan.order.iter().filter_map(|name| Some((name, plan.hosts.get(name)?)));
    let view = PlanView {
        format_version: PLAN_FORMAT_VERSION,
        environment: plan.environment.to_string(),
        commit: plan.commit.to_string(),
        observed_at_ms: plan.observed_at.0,
        seal: plan.seal.to_string(),
        empty: plan.is_empty(),
        summary: SummaryView {
            add: counts.add,
            replace: counts.replace,
            change: counts.change,
            prune: counts.prune,
            unchanged: counts.unchanged,
            drifted: drift(plan).count(),
            hosts: counts.hosts,
        },
        apps: plan
            .apps
            .iter()
            .map(|(name, app)| AppView {
                name: name.to_string(),
                release: app.release.clone(),
                content: app.content.to_string(),
            })
            .collect(),
        hosts: hosts
            .map(|(name, host)| HostView {
                name: name.to_string(),
                observed: plan.basis.hosts.get(name).is_some_and(|basis| basis.live.is_some()),
                unchanged: host.unchanged,
                components: host.components.iter().map(component).collect(),
                changes: host.changes.iter().map(change).collect(),
            })
            .collect(),
        blockers: plan.blockers.iter().map(blocker).collect(),
    };
    serde_json::to_value(view).unwrap_or_default()
}

/// Returns the JSON Schema of [`plan_json`].
pub fn plan_schema() -> Value {
    schemars::schema_for!(PlanView).to_value()
}

fn word(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn place(origin: &Origin) -> PlaceView {
    PlaceView { file: origin.file.clone(), line: origin.line, column: origin.column }
}

fn component(component: &ComponentPlan) -> ComponentView {
    ComponentView {
        app: component.app.to_string(),
        component: component.component.clone(),
        approach: word(component.approach),
        from_slot: component.from.map(|slot| slot.to_string()),
        to_slot: component.to.map(|slot| slot.to_string()),
        from_release: component.from_release.clone(),
        to_release: component.to_release.clone(),
    }
}

fn change(change: &Change) -> ChangeView {
    let (kind, name) = match &change.key {
        ResourceKey::File(path) => ("file", path.clone()),
        ResourceKey::Unit(unit) => ("unit", unit.clone()),
        ResourceKey::Service { project, service } => ("service", format!("{project}/{service}")),
        ResourceKey::Project(project) => ("project", project.clone()),
        ResourceKey::Switch(listen) => ("switch", listen.clone()),
        ResourceKey::Migration(id) => ("migration", id.clone()),
        ResourceKey::Group(name) => ("group", name.clone()),
        ResourceKey::Account(name) => ("account", name.clone()),
        ResourceKey::Folder(path) => ("folder", path.clone()),
        ResourceKey::Databases(path) => ("databases", path.clone()),
        ResourceKey::Static(path) => ("static", path.clone()),
    };
    ChangeView {
        symbol: change.action.symbol().to_owned(),
        action: word(change.action),
        kind: kind.to_owned(),
        name,
        app: change.app.to_string(),
        component: change.component.clone(),
        slot: change.slot.map(|slot| slot.to_string()),
        reason: word(change.reason),
        rule: change.rule.clone(),
        note: change.note.clone(),
        diff: change.diff.clone(),
        declared: (!change.origin.file.is_empty()).then(|| place(&change.origin)),
        because: change.because.iter().map(value).collect(),
    }
}

fn value(value: &Provenance) -> ValueView {
    ValueView {
        output_line: value.output_line,
        field: value.field.clone(),
        value: place(&value.value),
        template: place(&value.template),
    }
}

fn blocker(blocker: &Blocker) -> BlockerView {
    BlockerView {
        code: blocker.code.clone(),
        host: blocker.host.as_ref().map(ToString::to_string),
        app: blocker.app.as_ref().map(ToString::to_string),
        message: blocker.message.clone(),
    }
}
