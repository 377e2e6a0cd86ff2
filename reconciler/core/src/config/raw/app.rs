//! `environments/<env>/<app>.yaml`.

use super::backup::{Backup, BackupClass};
use super::certificate::CertificateName;
use super::check::{Argv, Drain, Healthcheck, Migrate, Prove, Smoke, Watch};
use super::databases::{PostgresServer, RedisServer};
use super::leaf::{
    Account, ArchivePath, Destination, HostHeader, HttpPath, Identifier, Mode, Network, Release, ServiceName, Sha256,
    TemplatePath,
};
use super::prerequisite::{AccountEntry, Firewall, FolderEntry, FolderPath, Package};
use super::selector::Selector;
use super::values::Values;
use crate::config::decode::{Context, Decode, Must, Named, Port, Whole, record};
use crate::config::model::{FileFormat, OnChange, Strategy};
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};
use crate::id::{AppName, ComponentName};
use crate::time::Millis;

record!(
    /// `environments/<env>/<app>.yaml`: one app, its release and its components.
    App, "an app", {
    /// Its name: that of the file.
    app: Must<At<AppName>>,
    /// Its release, `{{ release }}` in templates. A promotion changes this line.
    release: Must<At<Release>>,
    /// Its hosts: labels, or a list of names. Default: all of the environment.
    hosts: Option<At<Selector>>,
    /// Archives of `docker save` that hold images of this release, for hosts without a registry.
    archives: Option<Vec<At<Archive>>>,
    /// Its components by name, in the order they are brought up.
    components: Must<Named<ComponentName, Component>>,
    /// How many former releases stay on the hosts for a rollback, files and images. Default: 3.
    keep_releases: Option<Whole<1, 20>>,
    /// Variables for its templates.
    variables: Option<Values>,
});

record!(
    /// An archive of `docker save` on the management box. Images of the app that it holds come out of it, and the others from a registry.
    Archive, "an archive", {
    /// Its path below the folder `archives` of the manager's configuration. Not compressed.
    file: Must<At<ArchivePath>>,
    /// The SHA-256 of the file, as `sha256sum` prints it.
    sha256: Must<Sha256>,
});

record!(
    /// One component: one of `compose`, `systemd`, `nginx`, `static`, `firewall`, or `files` or what has to be on the host alone.
    Component, "a component", {
    /// A compose project: its template below `templates/`.
    compose: Option<At<TemplatePath>>,
    /// systemd units: one template below `templates/`, or a list. With slots it is a template unit such as `nps-api@.service.j2`.
    systemd: Option<At<Templates>>,
    /// An nginx site: its template below `templates/`.
    nginx: Option<At<TemplatePath>>,
    /// The firewall of its hosts; one component on each host.
    firewall: Option<At<Firewall>>,
    /// System groups that must be there; made before all else of the app.
    groups: Option<Vec<At<Account>>>,
    /// Accounts by name that must be there; made before all else of the app but groups.
    accounts: Option<Named<Account, AccountEntry>>,
    /// Folders by path that must be there, with owner and mode; made before the app's files.
    folders: Option<Named<FolderPath, FolderEntry>>,
    /// Packages of the distribution that must be installed. They are not installed by Holdfast.
    packages: Option<Vec<At<Package>>>,
    /// A built frontend, such as the `dist` of a bundler: files that nginx serves, switched at once from release to release.
    r#static: Option<At<Static>>,
    /// More files.
    files: Option<Vec<File>>,
    /// A program that looks at its new files before anything starts with them. Not for components with slots.
    check: Option<At<Check>>,
    /// What it tells Prometheus, by the name of the job.
    metrics: Option<Named<Identifier, MetricsJob>>,
    /// How it is changed. Needed for `compose` and `systemd`; else `in_place`.
    strategy: Option<At<Strategy>>,
    /// Its backups by name; the names are unique in the app. Not for components with slots.
    backups: Option<Named<BackupClass, Backup>>,
    /// What its PostgreSQL server is to hold: roles, databases, extensions, grants and initial data.
    postgres: Option<At<PostgresServer>>,
    /// What its Redis is to have set while it runs.
    redis: Option<At<RedisServer>>,
    /// Its hosts among those of the app: labels, or a list of names. Default: all of the app.
    hosts: Option<At<Selector>>,
    /// Whether its units start at boot. Default: `true`.
    enabled: Option<At<bool>>,
    /// Loopback ports by name: a number, or with slots `{ blue: 8101, green: 8201 }`. Where there are replicas each slot has a range,
    /// such as `{ blue: 8101-8104, green: 8201-8204 }`.
    ports: Option<Named<Identifier, At<Ports>>>,
    /// How many of it run side by side in a slot, each on a port of its own, all behind the same upstreams. Only for `compose` with
    /// the strategy `blue_green`. Default: 1.
    replicas: Option<At<Whole<1, 64>>>,
    /// How it proves to be healthy. Default: by the state of its units and containers.
    healthcheck: Option<At<Healthcheck>>,
    /// What runs once per release, from the new image, before traffic.
    migrate: Option<At<Migrate>>,
    /// The time after the switch in which a failing check sends the release back.
    watch: Option<At<Watch>>,
    /// How its old slot drains.
    drain: Option<At<Drain>>,
    /// How nginx is asked which release answers.
    prove: Option<At<Prove>>,
    /// Requests through nginx that decide whether the release stays: after the switch, and once more at the end of the watch window.
    smoke: Option<Vec<Smoke>>,
    /// How long the old slot stays startable, which makes going back a matter of a moment. The next sync after that takes it away,
    /// and the daemon begins one by itself in automatic mode. Default: `24h` with slots.
    keep_previous: Option<At<Millis>>,
    /// How many connections its database takes, all roles together.
    max_connections: Option<At<Whole<1, 1_000_000>>>,
    /// The connections to a database that each of its replicas may open.
    connections: Option<At<Connections>>,
    /// The certificate of an nginx site: one of the environment's `certificates`.
    certificate: Option<At<CertificateName>>,
    /// nginx upstreams by name: what they go to, as `component.port`.
    upstreams: Option<Named<Identifier, At<Upstream>>>,
    /// A site of its own that leads to the slot that does not serve. Only for `nginx`.
    preview: Option<At<Preview>>,
    /// Variables for its templates; the strongest.
    variables: Option<Values>,
});

record!(
    /// The connections to a database that each replica of a component may open: all replicas, twice where both slots run, are held
    /// against `max_connections` of that database.
    Connections, "`connections`", {
    /// The component with the database.
    to: At<ComponentName>,
    /// Processes that have a pool each. Default: 1.
    workers: Option<Whole<1, 10_000>>,
    /// The most that one pool opens, overflow included.
    pool: Whole<1, 100_000>,
});

record!(
    /// A site that leads to the slot that does not serve: to the new release before it gets traffic.
    Preview, "a preview", {
    /// The name of the site.
    host: HostHeader,
    /// The addresses and networks that may see it; everybody else gets 403.
    allow: Vec<At<Network>>,
    /// nginx's port for it. Default: 80.
    port: Option<Port>,
    /// The upstream whose other slot it shows. Default: the only one.
    upstream: Option<At<Identifier>>,
});

record!(
    /// One more file of a component.
    File, "a file", {
    /// Where it goes: absolute, or below `{{ dir }}`. `{{ slot }}` may stand in it.
    path: At<Destination>,
    /// Its template below `templates/`.
    template: At<TemplatePath>,
    /// How values in it are quoted. Default: `plain`.
    format: Option<FileFormat>,
    /// Permission bits. Default: `"0644"`; with a secret in it `"0600"`.
    mode: Option<Mode>,
    /// Owner: a name, or a number, since the accounts in a container are not the host's. Default: `root`.
    owner: Option<Account>,
    /// Group: a name or a number. Default: `root`.
    group: Option<Account>,
    /// What the units of the component do when only files such as this one change: `restart`, or `reload` where they have
    /// `ExecReload=`. Default: `restart`.
    on_change: Option<OnChange>,
});

record!(
    /// Files that nginx serves.
    Static, "`static`", {
    /// The archive with them, `tar` and not compressed: its path below the folder `archives` of the manager's configuration.
    archive: At<ArchivePath>,
    /// The SHA-256 of the archive, as `sha256sum` prints it.
    sha256: Sha256,
    /// What nginx's `root` names. Holdfast makes a link there, which always leads to the release that serves.
    path: At<FolderPath>,
});

record!(
    /// A program that looks at a component's new files before anything starts with them. Where it fails, they are put back.
    Check, "`check`", {
    /// Program and arguments. There is no shell.
    command: Argv,
    /// The compose service whose image and volumes it runs with. Default: the host itself.
    service: Option<ServiceName>,
    /// How long it may take. Default: `1m`.
    timeout: Option<Millis>,
});

record!(
    /// Where a component answers Prometheus.
    MetricsJob, "a job of `metrics`", {
    /// The port of the component, by its name.
    port: At<Identifier>,
    /// The path. Default: `/metrics`.
    path: Option<HttpPath>,
});

/// One template or several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Templates(pub(crate) Vec<At<TemplatePath>>);

impl Decode for Templates {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        match &node.kind {
            Kind::List(items) if items.is_empty() => cx.bad_value(node, "the list is empty", "name a template"),
            Kind::List(_) => Vec::decode(node, cx).map(Self),
            _ => At::decode(node, cx).map(|template| Self(vec![template])),
        }
    }
}

impl schemars::JsonSchema for Templates {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Templates".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<TemplatePath>();
        schemars::json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// The ports of one name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ports {
    /// One, without slots.
    One(At<Port>),
    /// One for each slot.
    Slots(SlotPorts),
}

record!(
    /// One port for each slot.
    SlotPorts, "the ports of both slots", {
    /// Blue's.
    blue: At<PortRange>,
    /// Green's.
    green: At<PortRange>,
});

/// A port, or ports in a row such as `8101-8104`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The first.
    pub(crate) first: u16,
    /// The last: not below the first.
    pub(crate) last: u16,
}

impl PortRange {
    /// The most ports in a row.
    const MOST: u16 = 64;

    /// Returns all of them.
    pub(crate) fn all(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && text.starts_with(|c| c != '+'));
        Some(Self { first: port(first)?, last: port(last)? })
    }
}

impl Decode for PortRange {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let range = match &node.kind {
            Kind::Scalar { text, .. } => Self::parse(text),
            Kind::List(_) | Kind::Map(_) => None,
        };
        match range {
            Some(range) if range.last > range.first && range.last - range.first < Self::MOST => Some(range),
            Some(_) => cx.bad_value(
                node,
                "these are no ports in a row",
                "write the lowest first, such as `8101-8104`, and 64 at the most",
            ),
            None => Port::decode(node, cx).map(|port| Self { first: port.number(), last: port.number() }),
        }
    }
}

impl schemars::JsonSchema for PortRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortRange".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Port>();
        schemars::json_schema!({ "anyOf": [one, { "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$" }] })
    }
}

impl Decode for Ports {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => SlotPorts::decode(node, cx).map(Self::Slots),
            Kind::Scalar { .. } => At::decode(node, cx).map(Self::One),
            Kind::List(_) => {
                cx.wrong_type(node, "a port or one for each slot", "write `8101` or `{ blue: 8101, green: 8201 }`")
            }
        }
    }
}

impl schemars::JsonSchema for Ports {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (one, slots) = (generator.subschema_for::<Port>(), generator.subschema_for::<SlotPorts>());
        schemars::json_schema!({ "anyOf": [one, slots] })
    }
}

/// What an upstream goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// The component.
    pub(crate) component: ComponentName,
    /// The port's name.
    pub(crate) port: String,
}

crate::config::decode::parsed!(
    Upstream,
    "a component and its port, such as web.api",
    "^[a-z][a-z0-9-]*\\.[A-Za-z_][A-Za-z0-9_]*$",
    |text| {
        let shown: String = text.chars().take(60).collect();
        let fail = || {
            format!(
                "`{}` is no `component.port`: write such as `web.api`, and the slots' ports follow",
                shown.escape_debug()
            )
        };
        let (component, port) = text.split_once('.').ok_or_else(fail)?;
        let component = component.parse().map_err(|_| fail())?;
        if port.is_empty() || port.contains('.') { Err(fail()) } else { Ok(Self { component, port: port.to_owned() }) }
    }
);
