//! What runs on a host of the lab while switches are measured: the app in both slots, and the product's own switch step.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_host::transaction::Host;
use holdfast_host::transaction::step::{self, Work};
use holdfast_protocol::{Action, SwitchMethod, TransactionKind, TransactionSpec};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &words[..] {
        ["serve", port, release] => serve(port, release),
        ["switch", method, count, pause, listen, one, other] => switch(method, count, pause, listen, [one, other]),
        _ => Err(
            "usage: holdfast-bench-host serve PORT RELEASE | switch redirect|reload COUNT PAUSE-MS LISTEN PORT PORT"
                .into(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-bench-host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers every request with the release, over connections that stay open.
fn serve(port: &str, release: &str) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    for stream in listener.incoming() {
        let (stream, release) = (stream?, release.to_owned());
        std::thread::spawn(move || answer(stream, &release));
    }
    Ok(())
}

fn answer(stream: TcpStream, release: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let (mut length, mut close) = (0, false);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            // What nginx says without upstream keep-alive; RFC 9112 §9.6 wants the connection closed then.
            close |= header == "connection: close";
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let body = format!("{{\"release\":\"{release}\"}}");
        let end = if close { "Connection: close\r\n" } else { "" };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{end}Content-Length: {}\r\n\r\n", body.len());
        reader.get_mut().write_all((head + &body).as_bytes())?;
        if close {
            return Ok(());
        }
    }
}

/// Switches back and forth with the step a transaction uses, each one read back as there, and prints how long they took.
fn switch(method: &str, count: &str, pause: &str, listen: &str, ports: [&str; 2]) -> Result<()> {
    let method = match method {
        "redirect" => SwitchMethod::Redirect,
        "reload" => SwitchMethod::Reload,
        _ => return Err("the method is `redirect` or `reload`".into()),
    };
    let (count, pause) = (count.parse::<usize>()?, Duration::from_millis(pause.parse()?));
    let ports = [ports[0].parse::<u16>()?, ports[1].parse::<u16>()?];
    let host = Host::real();
    let spec = TransactionSpec {
        id: "bench-1".parse()?,
        fence: 1,
        app: "bench/switch".to_owned(),
        release: String::new(),
        commit: String::new(),
        kind: TransactionKind::Apply,
        prepare: Vec::new(),
        ready_deadline_ms: 0,
        promote: Vec::new(),
        watch: Vec::new(),
        settled_gate: false,
        settled_deadline_ms: 0,
        settle: Vec::new(),
        one_way: Vec::new(),
        confirm_within_ms: None,
    };
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let (from, to) = (Some(ports[(number + 1) % 2]), ports[number % 2]);
        let action = Action::Switch { listen: listen.to_owned(), from, to, method };
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(60);
        let work = Work { host: &host, spec: &spec, component: "web", deadline, stop: &|| false, tell: &|_| () };
        let before = step::capture(&work, &action).map_err(|error| error.to_string())?;
        step::apply(&work, &action, &before).map_err(|error| error.to_string())?;
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        std::thread::sleep(pause);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get((took.len().saturating_sub(1) as f64 * share).round() as usize).copied();
    println!(
        "{{\"switches\":{count},\"median_ms\":{:?},\"p99_ms\":{:?},\"worst_ms\":{:?}}}",
        at(0.5).unwrap_or_default(),
        at(0.99).unwrap_or_default(),
        at(1.0).unwrap_or_default()
    );
    Ok(())
}
