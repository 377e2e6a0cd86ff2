//! Sends load until its standard input ends, and prints what came of it as JSON: `holdfast-load HOST-HEADER ADDRESS:PORT…`.

use std::io::Read;
use std::time::Duration;

use holdfast_testkit::load::{Load, LoadSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().ok_or("usage: holdfast-load HOST-HEADER ADDRESS:PORT…")?;
    let targets = arguments.map(|target| target.parse()).collect::<Result<Vec<_>, _>>()?;
    let (pause, limit) = (Duration::from_millis(100), Duration::from_secs(900));
    let load = Load::start(&LoadSpec::chatbot(targets, &host, pause, limit));
    // Whoever started the load ends it by closing the pipe; when he dies, the pipe closes too.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", serde_json::to_string(&load.stop())?);
    Ok(())
}
