//! Runs a command while clients that never retry send requests, and says what both saw.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_testkit::load::{Load, LoadSpec};

use crate::fleet::Result;

/// Starts the load, waits for the first answers, runs the command, and prints one JSON object.
pub(crate) fn run(host: &str, connections: &str, target: &str, command: &[&str]) -> Result<()> {
    let load = Load::start(&LoadSpec {
        targets: vec![target.parse()?],
        host: host.to_owned(),
        get: "/".to_owned(),
        post: "/post".to_owned(),
        body: r#"{"message":"does it hold?"}"#.to_owned(),
        connections: connections.parse()?,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(900),
    });
    let begun = Instant::now();
    while load.report().requests < 100 {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!("nothing answers: {:?}", load.stop().examples).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = Instant::now();
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let took = started.elapsed();
    let before = (started - begun).as_secs_f64();
    let report = load.stop();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = serde_json::from_str(&said).unwrap_or(serde_json::Value::String(said));
    let line = serde_json::json!({
        "command_seconds": took.as_secs_f64(), "command_began": before, "exit": output.status.code(), "said": said, "load": report,
        "load_average": crate::plans::load_average(),
    });
    println!("{line}");
    Ok(())
}
