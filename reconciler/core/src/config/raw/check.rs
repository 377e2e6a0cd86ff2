//! Health checks, migrations, watch windows, drains, proofs and smoke tests.

use super::backup::{BackupClass, DatabaseName};
use super::leaf::{
    Argument, FieldPath, HeaderName, HostHeader, HttpPath, Identifier, MetricName, Ratio, Scalar, ServiceName,
    SqlFolder,
};
use crate::config::decode::{Context, Decode, Named, Port, Whole, record, words};
use crate::config::model::ProveExpect;
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};
use crate::id::{ComponentName, EnvironmentName};
use crate::time::Millis;

record!(
    /// How a component proves to be healthy: one of `http`, `tcp`, `grpc`, `command`, `celery` or `state`.
    Healthcheck, "a healthcheck", {
    /// An HTTP request to a loopback port.
    http: Option<Http>,
    /// A TCP connection to a loopback port.
    tcp: Option<Tcp>,
    /// What gRPC's own health service says on a loopback port.
    grpc: Option<Grpc>,
    /// A command that exits 0: a list of arguments on the host, or `{ service: db, argv: [pg_isready] }` in a container.
    command: Option<Command>,
    /// A ping that the Celery worker in each container of a service has to answer itself.
    celery: Option<Celery>,
    /// `true`: only the state of its containers and units counts.
    state: Option<At<bool>>,
    /// Time between two probes. Default: `2s`.
    interval: Option<Millis>,
    /// Time for one probe. Default: `5s`.
    timeout: Option<Millis>,
    /// Failures in a row, after the start period, that mean unhealthy. Default: 3.
    retries: Option<Whole<1, 1000>>,
    /// Time from the start in which failures do not count. Five restarts of one container or unit count all the same, and so does
    /// an end that nothing starts it again from. Default: `30s`.
    start_period: Option<Millis>,
    /// Successes in a row that are needed. Default: 2.
    passes: Option<Whole<1, 1000>>,
    /// How long it must stay healthy and not restart. Default: `5s`.
    min_healthy_time: Option<Millis>,
});

record!(
    /// An HTTP request to a loopback port.
    Http, "an http check", {
    /// Name in `ports`. Default: the only one.
    port: Option<At<Identifier>>,
    /// Path with query.
    path: HttpPath,
    /// `Host` header.
    host: Option<HostHeader>,
    /// Accepted status codes. Default: any 2xx.
    status: Option<Statuses>,
    /// Fields of a JSON answer, by dotted path, and the value each must have.
    json: Option<Named<FieldPath, Scalar>>,
    /// Headers of the answer, and the value each must have.
    headers: Option<Named<HeaderName, Scalar>>,
});

record!(
    /// A ping of Celery workers: `celery inspect ping` in each container of a service, meant for the worker in it alone.
    Celery, "a celery check", {
    /// The compose service of the workers.
    service: ServiceName,
    /// What `celery --app` is told, such as `app.tasks`.
    app: Argument,
    /// The worker's name before the `@`, where its command has a `--hostname`. What stands behind the `@` is the container's own
    /// name. Default: `celery`.
    name: Option<ServiceName>,
});

record!(
    /// A TCP connection to a loopback port.
    Tcp, "a tcp check", {
    /// Name in `ports`. Default: the only one.
    port: Option<At<Identifier>>,
});

record!(
    /// A call of `grpc.health.v1.Health/Check` on a loopback port, without TLS: the answer has to be SERVING.
    Grpc, "a grpc check", {
    /// Name in `ports`. Default: the only one.
    port: Option<At<Identifier>>,
    /// The service that is asked for, such as `shop.Cart`, 120 characters at the most. Default: the server as a whole.
    service: Option<At<Argument>>,
});

record!(
    /// A command in a container.
    ServiceCommand, "a command", {
    /// The compose service it runs in.
    service: Option<ServiceName>,
    /// Program and arguments. There is no shell.
    argv: Argv,
});

record!(
    /// A migration: it runs once per release, from the new image, before traffic.
    Migrate, "a migration", {
    /// Program and arguments. There is no shell.
    command: Option<At<Argv>>,
    /// Numbered SQL files of this repository, in place of `command`.
    sql: Option<At<Sql>>,
    /// The compose service whose image runs it. Default: the first of the project.
    service: Option<ServiceName>,
    /// Program and arguments that print the schema's revision: asked before and after, and recorded.
    revision: Option<Argv>,
    /// Program and arguments that go back, with `{revision}` for the recorded one: `[alembic, downgrade, "{revision}"]`. They run in the
    /// newer release's image, which knows both. Needs `revision`.
    downgrade: Option<At<Argv>>,
    /// Whether the old release works with the new schema, so that there is a way back. Without one, what fails after the switch leaves
    /// the new release serving and calls an operator. Default: `false`.
    reversible: Option<At<bool>>,
    /// Whether the old release cannot run beside the new schema: it is stopped first, and nobody is served until the new one is
    /// healthy. Default: `false`.
    breaking: Option<At<bool>>,
    /// A backup of this app that has to succeed just before: the name of its class. When it fails, so does the deployment, before
    /// anything is migrated.
    backup: Option<At<BackupClass>>,
    /// An environment that must have migrated the same way before: same release, command and image.
    after: Option<At<EnvironmentName>>,
    /// Whether it may run again when its outcome is unknown. Default: `false`.
    idempotent: Option<bool>,
    /// How long it may take. Default: `10m`.
    timeout: Option<Millis>,
});

record!(
    /// Numbered SQL files: each is applied once, in the order of their numbers, in a transaction of its own.
    Sql, "`sql`", {
    /// Their folder below `templates/`. Each name begins with its number. What ends in `_rollback.sql`, `.down.sql` or `_down.sql` is never run.
    folder: At<SqlFolder>,
    /// The component with the database.
    component: At<ComponentName>,
    /// Its compose service, whose `psql` is used.
    service: ServiceName,
    /// The database.
    database: DatabaseName,
    /// The role, over the socket inside the container. Default: `postgres`.
    user: Option<DatabaseName>,
});

record!(
    /// The time after a switch in which a failing check sends the release back.
    Watch, "a watch window", {
    /// How long.
    window: Millis,
    /// Share of failed probes above which the release goes back, judged on ten probes at the least. One failed probe alone is no
    /// share, unless it is `0%`. Default: `1%`.
    max_error_ratio: Option<Ratio>,
    /// The time within which 95 of 100 good answers to the health check must come, judged on twenty probes at the least. Default: any.
    max_p95: Option<At<Millis>>,
    /// What the release counts itself, and what of it sends it back.
    metrics: Option<At<WatchMetrics>>,
});

record!(
    /// What a release counts itself while it is watched, and what of it sends it back: `errors`, `latency` or both.
    WatchMetrics, "`metrics` of a watch window", {
    /// The job of the component's `metrics` that is asked, on each replica. Default: the only one.
    job: Option<At<Identifier>>,
    /// How many requests may fail.
    errors: Option<MetricErrors>,
    /// How long requests may take.
    latency: Option<MetricLatency>,
    /// Series with one of these labels do not count, such as those of health checks. A value may end with `*`: `{ path: "/health*" }`.
    ignore: Option<Named<Identifier, Scalar>>,
    /// Requests in the window under which nothing is judged. Default: 20.
    at_least: Option<Whole<1, 1_000_000>>,
});

record!(
    /// How many of the requests that a release counts may fail.
    MetricErrors, "`errors`", {
    /// The counter of all requests, such as `http_requests_total`.
    counter: MetricName,
    /// The labels of those that failed, all of them. A value may end with `*`: `{ status: "5*" }`.
    failed: Named<Identifier, Scalar>,
    /// The share of them above which the release goes back.
    max_ratio: Ratio,
});

record!(
    /// How long the requests that a release times may take.
    MetricLatency, "`latency`", {
    /// The histogram, in seconds, such as `http_request_duration_seconds`.
    histogram: MetricName,
    /// The time within which 95 of 100 must be done: at best one of its buckets. What is in the bucket that this time falls into counts
    /// as quick enough.
    max_p95: Millis,
});

record!(
    /// How an old slot drains after the switch.
    Drain, "`drain`", {
    /// How long open connections are waited for. Default: `30s`.
    timeout: Option<Millis>,
    /// `timeout`: websockets wait as long as the rest; `until_closed`: all wait until `max`. Default: `timeout`.
    websockets: Option<At<WebsocketDrain>>,
    /// The most that `until_closed` waits. Default: `1h`.
    max: Option<At<Millis>>,
    /// Time between SIGTERM and SIGKILL of every container, whatever the compose file says. Default: what the compose file says for
    /// each (`stop_grace_period`, else 10 s). Units keep their `TimeoutStopSec=`.
    stop_grace: Option<Millis>,
});

/// How long websockets are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebsocketDrain {
    /// As long as the rest.
    Timeout,
    /// Until they close, or `max`.
    UntilClosed,
}

words!(WebsocketDrain, "way to drain websockets", {
    "timeout" => WebsocketDrain::Timeout,
    "until_closed" => WebsocketDrain::UntilClosed,
});

record!(
    /// How nginx is asked which release answers: by `header` or by `json`.
    Prove, "`prove`", {
    /// nginx's port on loopback. Default: 80.
    port: Option<Port>,
    /// Path with query. Default: `/`.
    path: Option<HttpPath>,
    /// `Host` header: the site's name.
    host: Option<HostHeader>,
    /// Response header that names the release or slot.
    header: Option<HeaderName>,
    /// Field of a JSON answer that names the release or slot, by dotted path.
    json: Option<FieldPath>,
    /// What it must equal: `release` or `slot`. Default: `release`.
    expect: Option<ProveExpect>,
});

record!(
    /// A request through nginx after the switch, and what its answer must be.
    Smoke, "a smoke test", {
    /// nginx's port on loopback. Default: that of `prove`, else 80.
    port: Option<Port>,
    /// Path with query.
    path: HttpPath,
    /// `Host` header: the site's name. Default: that of `prove`.
    host: Option<HostHeader>,
    /// Accepted status codes. Default: any 2xx.
    status: Option<Statuses>,
    /// Fields of a JSON answer, by dotted path, and the value each must have.
    json: Option<Named<FieldPath, Scalar>>,
    /// Text that the answer's body must hold.
    contains: Option<Scalar>,
});

/// Program and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argv(pub(crate) Vec<String>);

impl Decode for Argv {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        if let Kind::Scalar { text, .. } = &node.kind {
            let words: Vec<String> =
                text.split_whitespace().take(12).map(|word| word.chars().take(40).collect()).collect();
            // What only a shell knows would reach the program as an argument.
            let hint = if text.contains(['|', '&', ';', '<', '>', '$', '`', '\'', '"']) {
                "there is no shell; write `[program, argument]`, and put what needs a shell into a script of the image"
                    .to_owned()
            } else {
                format!("there is no shell; write [{}]", words.join(", "))
            };
            return cx.wrong_type(node, "a list of arguments", hint);
        }
        let arguments = Vec::<Argument>::decode(node, cx)?;
        if arguments.first().is_none_or(|program| program.0.is_empty()) {
            return cx.bad_value(
                node,
                "it names no program",
                "write the program first, such as [alembic, upgrade, head]",
            );
        }
        Some(Self(arguments.into_iter().map(|argument| argument.0).collect()))
    }
}

impl schemars::JsonSchema for Argv {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argv".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
    }
}

/// A command on the host or in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Compose service; empty for the host.
    pub(crate) service: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
}

impl Decode for Command {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        if matches!(node.kind, Kind::Map(_)) {
            let command = ServiceCommand::decode(node, cx)?;
            return Some(Self {
                service: command.service.map(|name| name.0).unwrap_or_default(),
                argv: command.argv.0,
            });
        }
        Argv::decode(node, cx).map(|argv| Self { service: String::new(), argv: argv.0 })
    }
}

impl schemars::JsonSchema for Command {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (argv, map) = (generator.subschema_for::<Argv>(), generator.subschema_for::<ServiceCommand>());
        schemars::json_schema!({ "anyOf": [argv, map] })
    }
}

/// One status code or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statuses(pub(crate) Vec<u16>);

type Status = Whole<100, 599>;

impl Decode for Statuses {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let list = match &node.kind {
            Kind::List(_) => Vec::<Status>::decode(node, cx)?,
            _ => vec![Status::decode(node, cx)?],
        };
        Some(Self(list.into_iter().map(|status| status.0 as u16).collect()))
    }
}

impl schemars::JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Status>();
        schemars::json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
    }
}
