//! How long it takes from a command to the first answers of a release.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fleet::Result;

/// Answers in a row that must name the release; nginx has several workers.
const IN_A_ROW: u32 = 5;

/// How long is waited for the release.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the command, asks over and over, each time over a new connection, and prints one JSON object.
pub(crate) fn run(host: &str, target: &str, release: &str, command: &[&str]) -> Result<()> {
    let target: SocketAddr = target.parse()?;
    let begun = Instant::now();
    let child = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    // Its output is read while it runs: a full pipe would stop it.
    let waiting = std::thread::spawn(move || (child.wait_with_output(), Instant::now()));
    let (mut first, mut row) = (None, 0);
    while row < IN_A_ROW {
        if begun.elapsed() > PATIENCE {
            return Err(format!("no answer of {release} within {} s", PATIENCE.as_secs()).into());
        }
        let asked = Instant::now();
        if answer(host, target).is_ok_and(|body| body.contains(&format!("\"{release}\""))) {
            first.get_or_insert(asked);
            row += 1;
        } else {
            (first, row) = (None, 0);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let (output, ended) = waiting.join().map_err(|_| "the command's reader ended early")?;
    let output = output?;
    let milliseconds = |at: Instant| at.duration_since(begun).as_secs_f64() * 1_000.0;
    println!(
        "{}",
        serde_json::json!({
            "until_ms": first.map(milliseconds), "command_ms": milliseconds(ended), "exit": output.status.code(),
            "switch_ms": switch(&String::from_utf8_lossy(&output.stdout)), "load_average": crate::plans::load_average(),
        })
    );
    Ok(())
}

fn answer(host: &str, target: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns how long the step that switches took, from the events a verb prints with `--json`.
fn switch(events: &str) -> Option<u64> {
    let events: Vec<serde_json::Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let entries = || events.iter().filter_map(|event| event.pointer("/kind/host/entry/event"));
    let intent = entries().filter_map(|event| event.get("intent")).find(|intent| {
        intent.get("title").and_then(|title| title.as_str()).is_some_and(|title| title.contains("switch"))
    })?;
    let same = |done: &&serde_json::Value| ["phase", "step"].iter().all(|key| done.get(key) == intent.get(key));
    entries().filter_map(|event| event.get("done")).find(same)?.get("took_ms")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_switch_among_events() {
        let line = |event: &str| format!("{{\"at\":1,\"kind\":{{\"host\":{{\"entry\":{{\"event\":{event}}}}}}}}}\n");
        let events = line(r#"{"intent":{"phase":"promote","step":0,"title":"web: health"}}"#)
            + &line(r#"{"done":{"phase":"promote","step":0,"took_ms":400}}"#)
            + "not JSON\n"
            + &line(r#"{"intent":{"phase":"promote","step":1,"title":"web: switch 127.0.83.1:8601 to blue"}}"#)
            + &line(r#"{"done":{"phase":"promote","step":1,"took_ms":7}}"#);
        assert_eq!(switch(&events), Some(7));
        assert_eq!(switch(""), None);
    }
}
