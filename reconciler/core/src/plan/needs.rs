//! What a host must have before an app may change on it.

use holdfast_protocol::{Observed, Tool};

use super::capacity::capacity;
use super::host::HostContext;
use super::observe::places;
use super::place::Problem;
use super::{Blocker, Change, HostPlan, ResourceKey};
use crate::config::Requirement;
use crate::desired::{DesiredApp, LOGROTATE_FOLDER};
use crate::id::AppName;

/// A part of a host that an app needs.
struct Part {
    name: &'static str,
    /// The oldest that will do.
    oldest: &'static [u64],
    /// What to do about one that is there and does not answer.
    remedy: &'static str,
}

/// The oldest Docker engine: the first with API 1.41, whose container list carries what we read.
const DOCKER: Part = Part { name: "Docker engine", oldest: &[20, 10], remedy: "`systemctl start docker`" };
/// The oldest compose: the first that is a plugin of docker; 1.x is another program with other names for containers.
const COMPOSE: Part = Part { name: "docker compose", oldest: &[2, 0], remedy: "install the plugin anew" };
/// The oldest systemd: `NRestarts` came with 235, `systemd-run --collect` with 236.
const SYSTEMD: Part = Part { name: "systemd", oldest: &[236], remedy: "look at `systemctl status` there" };
/// The oldest nginx that distributions still look after.
const NGINX: Part = Part { name: "nginx", oldest: &[1, 18], remedy: "look at `nginx -v` there" };

/// The oldest logrotate whose rules for its files are the ones that are looked at.
const LOGROTATE: Part = Part { name: "logrotate", oldest: &[3, 8], remedy: "look at `logrotate --version` there" };

/// Free bytes below which nothing is started: room for staged files, the journal and what an engine writes meanwhile.
const DISK_FREE: u64 = 256 * 1024 * 1024;
/// Free inodes below which nothing is started: a transaction makes tens of files, an image layer thousands.
const INODES_FREE: u64 = 2_000;

/// Where nginx keeps its configuration.
const NGINX_FOLDER: &str = "/etc/nginx/";

/// Returns what the apps of a host lack.
pub(super) fn app_needs(context: &HostContext<'_>, plan: &HostPlan) -> Vec<Blocker> {
    let mut blockers: Vec<Blocker> =
        requirements(context).into_iter().map(|problem| context.blocker(None, problem)).collect();
    for (name, app) in &context.desired.apps {
        let missing = tools(context, app).into_iter().map(|problem| context.blocker(Some(name), problem));
        blockers.extend(missing);
    }
    for status in context.report.transactions.iter().filter(|status| status.outcome.is_none()) {
        let Some((environment, app)) = status.app.split_once('/') else { continue };
        let (true, Ok(app)) = (environment == context.environment.as_str(), app.parse::<AppName>()) else { continue };
        let state = if status.running { "is running" } else { "was cut down and can be resumed" };
        let message = format!("transaction {} for release {} {state}: let it end first", status.id, status.release);
        blockers.push(context.blocker(Some(&app), ("unfinished-transaction", message)));
    }
    if !plan.changes.is_empty() {
        blockers.extend(headroom(context).into_iter().map(|problem| context.blocker(None, problem)));
        blockers.extend(capacity(context).into_iter().map(|problem| context.blocker(None, problem)));
        blockers.extend(nginx(context, plan));
    }
    blockers
}

fn tools(context: &HostContext<'_>, app: &DesiredApp) -> Vec<Problem> {
    let artifacts = || app.components.iter().flat_map(|component| places(&component.body));
    let hello = context.hello;
    let mut problems = Vec::new();
    if artifacts().any(|artifacts| artifacts.project.is_some()) {
        problems.extend(tool(&DOCKER, &hello.docker));
        problems.extend(tool(&COMPOSE, &hello.compose));
    }
    if artifacts().any(|artifacts| !artifacts.units.is_empty()) {
        problems.extend(tool(&SYSTEMD, &hello.systemd));
    }
    if artifacts().any(|artifacts| artifacts.files.values().any(|file| file.nginx)) {
        problems.extend(tool(&NGINX, &hello.nginx));
    }
    let rotates = |path: &String| path.strip_prefix(LOGROTATE_FOLDER).is_some_and(|rest| rest.starts_with('/'));
    if artifacts().any(|artifacts| artifacts.files.keys().any(rotates)) {
        problems.extend(tool(&LOGROTATE, &hello.logrotate));
    }
    problems.extend(super::certificates::needs(app, context.report));
    problems
}

fn tool(part: &Part, found: &Tool) -> Option<Problem> {
    let Part { name, oldest, remedy } = *part;
    let wanted = oldest.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    let message = match found {
        Tool::Version(version) if version_numbers(version).as_slice() >= oldest => return None,
        Tool::Version(version) => format!("{name} {version} is too old: install {wanted} or newer"),
        Tool::Missing => format!("{name} is not installed: install {wanted} or newer"),
        Tool::Broken(why) => format!("{name} does not answer ({why}): {remedy}, then plan again"),
    };
    Some(("missing-tool", message))
}

/// Returns what the environment wants of its hosts and this one does not have.
fn requirements(context: &HostContext<'_>) -> Vec<Problem> {
    let hello = context.hello;
    let mut problems = Vec::new();
    for (part, oldest) in context.requires {
        let (name, found) = match part {
            Requirement::Docker => ("the Docker engine", hello.docker.clone()),
            Requirement::Compose => ("docker compose", hello.compose.clone()),
            Requirement::Nginx => ("nginx", hello.nginx.clone()),
            Requirement::Systemd => ("systemd", hello.systemd.clone()),
            Requirement::PostgresqlClient => ("PostgreSQL's client", hello.postgresql_client.clone()),
            Requirement::Kernel => ("the kernel", Tool::Version(hello.kernel.clone())),
            Requirement::Debian => match hello.distribution.strip_prefix("Debian") {
                Some(version) => ("Debian", Tool::Version(version.to_owned())),
                None => ("Debian", Tool::Missing),
            },
        };
        let wanted = oldest.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        let host = context.name;
        let message = match found {
            Tool::Version(version) if version_numbers(&version) >= *oldest => continue,
            Tool::Version(version) => {
                let version = version.trim();
                format!("{name} of {host} is {version}, and {} requires {wanted} or newer", context.environment)
            }
            Tool::Missing => {
                format!("{host} does not have {name}, and {} requires {wanted} or newer", context.environment)
            }
            Tool::Broken(why) => {
                format!(
                    "{name} of {host} does not answer ({why}), and {} requires {wanted} or newer",
                    context.environment
                )
            }
        };
        problems.push(("requirement-not-met", message));
    }
    problems
}

/// Returns the numbers a version begins with: `v2.26.1-4` gives 2, 26, 1.
fn version_numbers(version: &str) -> Vec<u64> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    digits[..end].split('.').map_while(|part| part.parse().ok()).collect()
}

fn headroom(context: &HostContext<'_>) -> Vec<Problem> {
    let resources = &context.report.resources;
    let mut problems = Vec::new();
    if resources.disk_free < DISK_FREE {
        let (free, wanted) = (resources.disk_free >> 20, DISK_FREE >> 20);
        problems.push((
            "no-headroom",
            format!("{free} MiB are free on the disk of /var/lib/holdfast, {wanted} are needed"),
        ));
    }
    if resources.inodes_free < INODES_FREE {
        let free = resources.inodes_free;
        problems.push((
            "no-headroom",
            format!("{free} inodes are free on the disk of /var/lib/holdfast, {INODES_FREE} are needed"),
        ));
    }
    problems
}

fn nginx(context: &HostContext<'_>, plan: &HostPlan) -> Vec<Blocker> {
    let changes: Vec<&Change> = plan.changes.iter().filter(|change| touches_nginx(context, change)).collect();
    let mut apps: Vec<&AppName> = changes.iter().map(|change| &change.app).collect();
    apps.dedup();
    let problem: Problem = match &context.report.nginx {
        Observed::Seen(nginx) if !nginx.error.is_empty() => {
            // An error in a file that this very plan puts right is no obstacle: the staged tree is tested without it.
            let ours =
                |change: &&Change| matches!(&change.key, ResourceKey::File(path) if names_file(&nginx.error, path));
            if changes.iter().any(ours) {
                return Vec::new();
            }
            (
                "foreign-nginx-error",
                format!("nginx's configuration is broken without our change: {}", nginx.error.trim()),
            )
        }
        Observed::Seen(nginx) if !nginx.active => {
            ("nginx-not-running", "nginx does not run: `systemctl start nginx`, then plan again".to_owned())
        }
        Observed::Unknown(why) => ("unknown", format!("nginx could not be looked at: {why}")),
        // Not installed: said as a missing tool.
        Observed::Seen(_) | Observed::Absent => return Vec::new(),
    };
    apps.into_iter().map(|app| context.blocker(Some(app), problem.clone())).collect()
}

fn touches_nginx(context: &HostContext<'_>, change: &Change) -> bool {
    let ResourceKey::File(path) = &change.key else { return false };
    let declared = || {
        let app = context.desired.apps.get(&change.app)?;
        app.components.iter().flat_map(|c| places(&c.body)).find_map(|artifacts| artifacts.files.get(path))
    };
    path.starts_with(NGINX_FOLDER) || declared().is_some_and(|file| file.nginx)
}

/// Returns whether nginx's error is about this file: `… in /etc/nginx/conf.d/nps.conf:12`.
fn names_file(error: &str, path: &str) -> bool {
    error.match_indices(path).any(|(at, _)| error[at + path.len()..].starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_13_versions_compare_by_number() {
        let old_enough = |oldest: &'static [u64], text: &str| {
            tool(&Part { name: "x", oldest, remedy: "" }, &Tool::Version(text.to_owned())).is_none()
        };
        assert!(old_enough(&[20, 10], "20.10.24+dfsg1"));
        assert!(old_enough(&[20, 10], "26.1.5"));
        assert!(!old_enough(&[20, 10], "20.9.9"));
        assert!(!old_enough(&[20, 10], "19.03.15"));
        assert!(old_enough(&[2, 0], "v2.26.1-4"));
        assert!(!old_enough(&[2, 0], "1.29.2"));
        assert!(old_enough(&[236], "systemd 257 (257.9-1~deb13u1)"));
        assert!(!old_enough(&[1, 18], "nonsense"));
    }

    #[test]
    fn an_nginx_error_names_a_file_only_with_its_line() {
        let error = "nginx: [emerg] unknown directive \"x\" in /etc/nginx/conf.d/a.conf.bak:3";
        assert!(!names_file(error, "/etc/nginx/conf.d/a.conf"));
        assert!(names_file(error, "/etc/nginx/conf.d/a.conf.bak"));
    }
}
