//! Waits until a component proves that it is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use holdfast_protocol::{CommandTarget, ContainerLive, HealthCheck, Observed, Probe};

use super::judge::{Judge, Look, State, Verdict};
use super::{Act, StepError, Work, compose, fail, grpc, http, unit};
use crate::docker::{ContainerDetail, Engine};
use crate::exec::{Call, shown};
use crate::systemd::UnitDetail;

/// The least time between two probes, whatever was asked for.
const LEAST_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the check passes. Changes nothing.
pub(super) struct Health<'a>(pub(super) &'a HealthCheck);

impl Act for Health<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let started = Instant::now();
        let mut judge = Judge::starting(self.0);
        let mut engine = Engine::new(work.host.system.clone());
        loop {
            let look = look(work, self.0, &mut engine);
            let why = match judge.take(started.elapsed(), &look) {
                Verdict::Healthy => return Ok(format!("{} probes, {} failed", judge.asked, judge.failures)),
                Verdict::Unhealthy(why) => return fail(format!("unhealthy: {why}{}", logs(self.0, &mut engine))),
                Verdict::Waiting(why) => why,
            };
            (work.tell)(&format!("waiting for health: {why}"));
            match work.pause(interval(self.0), &why) {
                Ok(()) => {}
                Err(StepError::Failed(error)) => return fail(format!("{error}{}", logs(self.0, &mut engine))),
                Err(stopped) => return Err(stopped),
            }
        }
    }
}

pub(super) fn interval(check: &HealthCheck) -> Duration {
    Duration::from_millis(check.interval_ms).max(LEAST_INTERVAL)
}

/// Looks once.
pub(super) fn look(work: &Work<'_>, check: &HealthCheck, engine: &mut Engine) -> Look {
    let (state, restarts) = state(work, check, engine);
    let timeout = Duration::from_millis(check.timeout_ms).max(Duration::from_millis(1));
    // What is down cannot answer; asking would only hide the real reason.
    let (probe, took) = match &state {
        State::Down(why) | State::Ended(why) => (Err(why.clone()), Duration::ZERO),
        _ => timed(work, &check.probe, timeout, engine),
    };
    Look { probe, took, state, restarts }
}

/// Asks, and says how long the answer took: of several the longest.
fn timed(work: &Work<'_>, asked: &Probe, timeout: Duration, engine: &mut Engine) -> (Result<(), String>, Duration) {
    let Probe::All(all) = asked else {
        let began = Instant::now();
        return (probe(work, asked, timeout, engine), began.elapsed());
    };
    let mut longest = Duration::ZERO;
    for one in all {
        let (answer, took) = timed(work, one, timeout, engine);
        longest = longest.max(took);
        if answer.is_err() {
            return (answer, longest);
        }
    }
    (Ok(()), longest)
}

fn probe(work: &Work<'_>, probe: &Probe, timeout: Duration, engine: &mut Engine) -> Result<(), String> {
    match probe {
        Probe::State => Ok(()),
        Probe::Tcp { port } => http::connect(*port, timeout).map(drop),
        Probe::Http { port, path, host, status, json, headers } => {
            let answer = http::get(*port, path, host, timeout)?;
            answer
                .expect(status, json)
                .and_then(|()| answer.expect_headers(headers))
                .map_err(|why| format!("port {port}{}: {why}", shown(path.as_bytes(), 80)))
        }
        Probe::Grpc { port, service } => {
            grpc::check(*port, service, timeout).map_err(|why| format!("port {port}: {why}"))
        }
        Probe::All(_) => timed(work, probe, timeout, engine).0,
        Probe::Celery { project, service, app, name } => {
            for id in containers(engine, project, service)? {
                let argv = celery_ping(&id, app, name, timeout);
                let call = Call::new("docker", argv).deadline(timeout);
                call.run_unless(work.stop).map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        Probe::Command { target, argv } => {
            let Some((program, args)) = argv.split_first() else { return Err("the command is empty".to_owned()) };
            let call = match target {
                CommandTarget::Host => Call::new(program, args.iter().cloned()),
                CommandTarget::Service { project, service } => {
                    let id = container(engine, project, service)?;
                    Call::new("docker", ["exec".to_owned(), id].into_iter().chain(argv.iter().cloned()))
                }
            };
            call.deadline(timeout).run_unless(work.stop).map(drop).map_err(|error| error.to_string())
        }
    }
}

/// Returns the command that pings the worker of one container.
///
/// # Source
/// Celery's command line, `inspect`: `--destination` takes node names, and exit code 69 means that nobody replied. A node is named
/// `celery@HOSTNAME`, and Docker's host name of a container is the first twelve digits of its id.
fn celery_ping(id: &str, app: &str, name: &str, timeout: Duration) -> Vec<String> {
    let node = format!("{name}@{}", id.get(..12).unwrap_or(id));
    // The program itself takes a while to start, and to say that nobody replied.
    let patience = (timeout.as_secs_f64() / 2.0).max(0.5).to_string();
    ["exec", id, "celery", "--app", app, "inspect", "ping", "--destination", &node, "--timeout", &patience]
        .map(str::to_owned)
        .to_vec()
}

fn container(engine: &mut Engine, project: &str, service: &str) -> Result<String, String> {
    containers(engine, project, service).map(|mut all| all.swap_remove(0))
}

/// Returns the running containers of a service: at least one.
fn containers(engine: &mut Engine, project: &str, service: &str) -> Result<Vec<String>, String> {
    match engine.projects(&BTreeSet::from([project.to_owned()])).remove(project) {
        Some(Observed::Seen(live)) => {
            let running = live
                .containers
                .into_iter()
                .filter(|container| container.service == service && container.state == "running");
            let running: Vec<String> = running.map(|container| container.id).collect();
            if running.is_empty() {
                return Err(format!("no container of `{service}` in `{project}` runs"));
            }
            Ok(running)
        }
        Some(Observed::Unknown(why)) => Err(why),
        Some(Observed::Absent) | None => Err(format!("project `{project}` has no container")),
    }
}

/// Returns the state of units and containers, taken together, and the restarts of each.
fn state(work: &Work<'_>, check: &HealthCheck, engine: &mut Engine) -> (State, BTreeMap<String, u64>) {
    let (mut restarts, mut worst) = (BTreeMap::new(), State::Running);
    for name in &check.units {
        match unit::state(work, name) {
            Err(error) => return (State::Unknown(error.to_string()), restarts),
            Ok(unit) => {
                restarts.insert(name.clone(), u64::from(unit.restarts));
                worst = worst.or(unit_state(name, &unit));
            }
        }
    }
    for (name, project) in engine.details(&check.projects.iter().cloned().collect()) {
        match project {
            Observed::Unknown(why) => return (State::Unknown(why), restarts),
            Observed::Absent => worst = worst.or(State::Down(format!("project `{name}` has no container"))),
            Observed::Seen(containers) => {
                for container in containers {
                    worst = worst.or(container_state(&container));
                    restarts.insert(container.live.name, u64::from(container.live.restarts));
                }
            }
        }
    }
    (worst, restarts)
}

fn unit_state(name: &str, unit: &UnitDetail) -> State {
    let UnitDetail { active, sub, result, restarts, exit_code, .. } = unit;
    match (active.as_str(), sub.as_str()) {
        _ if unit.is_active() => State::Running,
        // Nothing starts it again: it has no `Restart=`, or came to its start limit.
        ("failed", "failed") => {
            State::Ended(format!("`{name}` has failed ({result}, exit status {exit_code}, {restarts} restarts)"))
        }
        ("activating", "auto-restart") => State::Down(format!(
            "`{name}` ended ({result}, exit status {exit_code}) and waits for restart {}",
            restarts + 1
        )),
        ("activating", _) => State::Starting(format!("`{name}` is starting ({sub})")),
        _ => State::Down(format!("`{name}` is {active} ({sub}, {restarts} restarts)")),
    }
}

fn container_state(container: &ContainerDetail) -> State {
    let ContainerLive { name, state, health, restarts, .. } = &container.live;
    let code = container.exit_code;
    match (state.as_str(), health.as_str()) {
        ("running", "unhealthy") => State::Down(format!("`{name}` is unhealthy by its own check")),
        ("running", "starting") => State::Starting(format!("`{name}` is starting by its own check")),
        ("running", _) => State::Running,
        _ if container.is_finished_job() => State::Running,
        _ if container.is_over() => {
            let policy = container.limits.restart();
            State::Ended(format!("`{name}` exited with code {code}, and its restart policy is `{policy}`"))
        }
        ("restarting", _) => {
            State::Down(format!("`{name}` exited with code {code} and is restarting ({restarts} restarts)"))
        }
        _ => State::Down(format!("`{name}` is {state} ({restarts} restarts)")),
    }
}

/// The ends of the logs of what the check is about.
pub(super) fn logs(check: &HealthCheck, engine: &mut Engine) -> String {
    let mut text = String::new();
    for name in check.units.iter().take(3) {
        let _ = write!(text, "; log of `{name}` ends: {}", unit::log_tail(name));
    }
    for project in check.projects.iter().take(3) {
        text.push_str(&compose::project_logs(engine, project));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::http::tests::server;
    use super::super::testing::Bench;
    use super::*;

    fn check(probe: Probe) -> HealthCheck {
        HealthCheck {
            probe,
            interval_ms: 20,
            timeout_ms: 5000,
            retries: 2,
            start_period_ms: 0,
            passes: 2,
            min_healthy_ms: 0,
            units: Vec::new(),
            projects: Vec::new(),
        }
    }

    fn answer(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn cap_25_http_with_a_field_that_becomes_right() {
        let bench = Bench::new();
        let port = server(vec![answer("{\"status\":\"starting\"}"), answer("{\"status\":\"healthy\"}")]);
        let probe = Probe::Http {
            port,
            path: "/ready".to_owned(),
            host: String::new(),
            status: Vec::new(),
            json: BTreeMap::from([("status".to_owned(), "healthy".to_owned())]),
            headers: BTreeMap::new(),
        };
        assert_eq!(Health(&check(probe)).apply(&bench.work(), &[]).unwrap(), "3 probes, 1 failed");
    }

    fn with_header(port: u16) -> Probe {
        Probe::Http {
            port,
            path: "/ready".to_owned(),
            host: String::new(),
            status: Vec::new(),
            json: BTreeMap::new(),
            headers: BTreeMap::from([("X-Ready".to_owned(), "yes".to_owned())]),
        }
    }

    fn says(ready: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nx-ready: {ready}\r\nContent-Length: 0\r\n\r\n")
    }

    #[test]
    fn cap_25_an_http_answer_has_the_header_that_is_wanted() {
        let bench = Bench::new();
        let port = server(vec![says("no"), says("yes")]);
        assert_eq!(Health(&check(with_header(port))).apply(&bench.work(), &[]).unwrap(), "3 probes, 1 failed");
        let error = Health(&check(with_header(server(vec![answer("")])))).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().contains("the answer has no header `X-Ready`, expected `yes`"), "{error}");
        let error = Health(&check(with_header(server(vec![says("no")])))).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().contains("the header `X-Ready` is `no`, expected `yes`"), "{error}");
    }

    #[test]
    fn cap_22_every_replica_has_to_pass() {
        let bench = Bench::new();
        let good = server(vec![says("yes")]);
        let late = server(vec![says("no"), says("yes")]);
        let all = Probe::All(vec![with_header(good), with_header(late)]);
        assert_eq!(Health(&check(all)).apply(&bench.work(), &[]).unwrap(), "3 probes, 1 failed");
        let one_is_bad = Probe::All(vec![with_header(good), with_header(server(vec![says("no")]))]);
        assert!(Health(&check(one_is_bad)).apply(&bench.work(), &[]).is_err());
    }

    #[test]
    fn cap_25_a_celery_worker_is_asked_by_its_own_name() {
        let argv = celery_ping("0123456789abcdef", "app.tasks", "celery", Duration::from_secs(8));
        let wanted =
            "exec 0123456789abcdef celery --app app.tasks inspect ping --destination celery@0123456789ab --timeout 4";
        assert_eq!(argv.join(" "), wanted);
    }

    #[test]
    fn what_ended_for_good_is_told_from_what_will_start_again() {
        let unit = |active: &str, sub: &str| UnitDetail {
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: "exit-code".to_owned(),
            exit_code: 7,
            restarts: 2,
            ..UnitDetail::default()
        };
        let said = "`a.service` has failed (exit-code, exit status 7, 2 restarts)";
        assert_eq!(unit_state("a.service", &unit("failed", "failed")), State::Ended(said.to_owned()));
        let said = "`a.service` ended (exit-code, exit status 7) and waits for restart 3";
        assert_eq!(unit_state("a.service", &unit("activating", "auto-restart")), State::Down(said.to_owned()));
        assert_eq!(unit_state("a.service", &unit("active", "running")), State::Running);
        // Not started yet after a boot.
        assert!(matches!(unit_state("a.service", &unit("inactive", "dead")), State::Down(_)));

        let container = |state: &str, exit_code: i64, restart: &str| ContainerDetail {
            live: ContainerLive { state: state.to_owned(), ..compose::tests::container("api", "d", "") },
            exit_code,
            stop_grace: None,
            limits: serde_json::from_str(&format!("{{\"restart\":\"{restart}\"}}")).unwrap(),
        };
        let said = "`shop-api-1` exited with code 7, and its restart policy is `no`";
        assert_eq!(container_state(&container("exited", 7, "no")), State::Ended(said.to_owned()));
        assert!(matches!(container_state(&container("exited", 7, "on-failure:3")), State::Ended(_)));
        assert_eq!(container_state(&container("exited", 0, "no")), State::Running);
        assert!(matches!(container_state(&container("exited", 0, "always")), State::Down(_)));
        let said = "`shop-api-1` exited with code 7 and is restarting (0 restarts)";
        assert_eq!(container_state(&container("restarting", 7, "always")), State::Down(said.to_owned()));
    }

    #[test]
    fn cap_25_commands_and_ports() {
        let bench = Bench::new();
        let command =
            |program: &str| check(Probe::Command { target: CommandTarget::Host, argv: vec![program.to_owned()] });
        Health(&command("true")).apply(&bench.work(), &[]).unwrap();
        let error = Health(&command("false")).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("unhealthy: `false` exited with 1"), "{error}");
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        Health(&check(Probe::Tcp { port })).apply(&bench.work(), &[]).unwrap();
        drop(listening);
        assert!(Health(&check(Probe::Tcp { port })).apply(&bench.work(), &[]).is_err());
    }
}
