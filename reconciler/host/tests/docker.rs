//! The Docker client against an engine of our own over a Unix socket.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use holdfast_host::docker::Engine;
use holdfast_host::paths::System;
use holdfast_protocol::{Observed, Tool};

/// What a test may look at and change while the engine answers.
#[derive(Default)]
struct State {
    /// Answers by path, one after the other; the last one stays.
    answers: BTreeMap<String, Vec<String>>,
    connections: usize,
    asked: Vec<String>,
    /// Close the connection after each answer without saying so, as an engine that is restarted does.
    close: bool,
}

struct Docker {
    _folder: tempfile::TempDir,
    engine: Engine,
    state: Arc<Mutex<State>>,
}

impl Docker {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let docker = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&docker).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { return };
                shared.lock().unwrap().connections += 1;
                std::thread::spawn(move || answer(&stream, &shared));
            }
        });
        let engine = Engine::new(System { docker, programs: Vec::new(), ..System::real() });
        let docker = Self { _folder: folder, engine, state };
        docker.on("/version", &chunked("{\"Version\":\"26.1.5\",\"ApiVersion\":\"1.45\",\"MinAPIVersion\":\"1.24\"}"));
        docker
    }

    /// Answers one more time at this path, below the API's version where there is one.
    fn on(&self, path: &str, answer: &str) {
        self.state.lock().unwrap().answers.entry(path.to_owned()).or_default().push(answer.to_owned());
    }

    fn projects(&mut self, names: &[&str]) -> BTreeMap<String, Observed<holdfast_protocol::ProjectLive>> {
        self.engine.projects(&names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>())
    }
}

fn answer(stream: &UnixStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or("").to_owned();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        let plain = path.strip_prefix("/v1.45").unwrap_or(&path);
        let answers = state.answers.get_mut(plain.split('?').next().unwrap());
        let answer = match answers {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => status(404, "{\"message\":\"No such container\"}"),
        };
        let close = state.close;
        drop(state);
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() || close {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn status(code: u16, body: &str) -> String {
    format!("HTTP/1.1 {code} Word\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    status(200, body)
}

/// In two chunks, as a Go server sends what is longer than its buffer.
fn chunked(body: &str) -> String {
    let (a, b) = body.split_at(body.len() / 2);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    )
}

fn listed(id: &str, project: &str, one_off: &str) -> String {
    format!(
        "{{\"Id\":\"{id}\",\"Labels\":{{\"com.docker.compose.project\":\"{project}\",\"com.docker.compose.oneoff\":\"{one_off}\"}}}}"
    )
}

fn inspected(id: &str, service: &str, extra: &str) -> String {
    format!(
        "{{\"Id\":\"{id}\",\"Name\":\"/p-{service}-1\",\"Image\":\"sha256:1234\",\"RestartCount\":3,\
         \"State\":{{\"Status\":\"running\",\"StartedAt\":\"2026-11-20T10:00:00.5Z\"{extra}}},\
         \"Config\":{{\"Labels\":{{\"com.docker.compose.service\":\"{service}\",\"dev.holdfast.digest\":\"d1\"}}}}}}"
    )
}

#[test]
fn containers_of_the_projects_asked_for_over_one_connection() {
    let mut docker = Docker::new();
    let list = [
        listed("b", "p", "False"),
        listed("a", "p", "False"),
        listed("x", "foreign", "False"),
        listed("o", "p", "True"),
    ];
    docker.on("/containers/json", &chunked(&format!("[{}]", list.join(","))));
    docker.on("/containers/b/json", &ok(&inspected("b", "web", ",\"Health\":{\"Status\":\"healthy\"}")));
    docker.on("/containers/a/json", &chunked(&inspected("a", "api", "")));
    let projects = docker.projects(&["p", "gone"]);
    assert_eq!(projects["gone"], Observed::Absent);
    let containers = &projects["p"].seen().unwrap().containers;
    let words: Vec<_> =
        containers.iter().map(|one| (one.service.as_str(), one.name.as_str(), one.health.as_str())).collect();
    assert_eq!(words, [("api", "p-api-1", ""), ("web", "p-web-1", "healthy")]);
    let web = &containers[1];
    assert_eq!(
        (web.restarts, web.state.as_str(), web.digest.as_str(), web.image.as_str()),
        (3, "running", "d1", "sha256:1234")
    );
    docker.projects(&["p"]);
    let state = docker.state.lock().unwrap();
    assert_eq!(state.connections, 1);
    assert!(!state.asked.iter().any(|path| path.contains("/x/") || path.contains("/o/")), "only ours are looked at");
    assert!(state.asked[1..].iter().all(|path| path.starts_with("/v1.45/")), "{:?}", state.asked);
}

#[test]
fn a_container_that_goes_while_we_look_makes_us_look_again() {
    let mut docker = Docker::new();
    docker.on("/containers/json", &ok(&format!("[{}]", listed("old", "p", "False"))));
    docker.on("/containers/json", &ok(&format!("[{}]", listed("new", "p", "False"))));
    docker.on("/containers/new/json", &ok(&inspected("new", "web", "")));
    let projects = docker.projects(&["p"]);
    assert_eq!(projects["p"].seen().unwrap().containers[0].id, "new");
}

#[test]
fn containers_that_never_settle_are_unknown_not_absent() {
    let mut docker = Docker::new();
    docker.on("/containers/json", &ok(&format!("[{}]", listed("old", "p", "False"))));
    assert!(matches!(&docker.projects(&["p"])["p"], Observed::Unknown(_)));
}

#[test]
fn an_engine_that_fails_or_is_not_there_is_unknown() {
    let mut docker = Docker::new();
    docker.on("/containers/json", &status(500, "{\"message\":\"database is\\nlocked\"}"));
    let Observed::Unknown(reason) = &docker.projects(&["p"])["p"] else { panic!("not unknown") };
    assert!(reason.contains("500") && reason.contains("database is\\nlocked"), "{reason}");
    let mut nowhere = Engine::new(System { docker: "/no/such/socket".into(), programs: Vec::new(), ..System::real() });
    assert!(matches!(&nowhere.projects(&BTreeSet::from(["p".to_owned()]))["p"], Observed::Unknown(_)));
    assert_eq!(nowhere.version(), Tool::Missing);
}

#[test]
fn an_engine_that_was_restarted_is_connected_to_again() {
    let mut docker = Docker::new();
    docker.state.lock().unwrap().close = true;
    assert_eq!(docker.engine.version(), Tool::Version("26.1.5".to_owned()));
    assert_eq!(docker.engine.version(), Tool::Version("26.1.5".to_owned()));
    assert_eq!(docker.state.lock().unwrap().connections, 2);
}

#[test]
fn an_answer_that_is_cut_off_or_nonsense_is_broken() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let mut docker = Docker::new();
        docker.state.lock().unwrap().answers.clear();
        docker.on("/version", answer);
        docker.state.lock().unwrap().close = true;
        assert!(matches!(docker.engine.version(), Tool::Broken(_)), "{answer}");
    }
}

#[test]
fn images_by_reference() {
    let mut docker = Docker::new();
    docker.on("/images/registry.example:5000/team/app:v1/json", &ok("{\"Id\":\"sha256:77\"}"));
    assert_eq!(docker.engine.image("registry.example:5000/team/app:v1"), Observed::Seen("sha256:77".to_owned()));
    assert_eq!(docker.engine.image("team/other:v1"), Observed::Absent);
    for odd in ["", "a b", "../../version", "a?x=1", "/version", "a\r\nHost: x"] {
        assert!(matches!(docker.engine.image(odd), Observed::Unknown(_)), "{odd}");
    }
}

#[test]
fn events_tell_which_project_changed() {
    let mut docker = Docker::new();
    let event = |action: &str, project: &str| {
        let body = format!(
            "{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"ID\":\"1\",\"Attributes\":{{\"com.docker.compose.project\":\"{project}\"}}}}}}\n"
        );
        format!("{:x}\r\n{body}\r\n", body.len())
    };
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    docker.on("/events", &format!("{head}{}{}{}", event("die", "p"), event("exec_start: x", "q"), event("start", "r")));
    let mut events = docker.engine.events().unwrap();
    let mut projects = events.buffered().unwrap();
    while projects.len() < 2 {
        projects.extend(events.read().unwrap());
    }
    assert_eq!(projects, ["p", "r"].map(str::to_owned).into());
}
