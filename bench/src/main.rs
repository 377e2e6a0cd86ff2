//! Measures Holdfast beside a floor in the same run: what `bench/run` calls. Figures and how to read them: `docs/performance.md`.

mod cpu;
mod figures;
mod fleet;
mod floor;
mod load;
mod plans;
mod until;

use std::process::ExitCode;

const USAGE: &str = "\
usage: holdfast-bench plans   MANAGER.yaml ENVIRONMENT HOLDFAST LAB_STATE ROUNDS
       holdfast-bench load    HOST-HEADER CONNECTIONS ADDRESS:PORT COMMAND...
       holdfast-bench until   HOST-HEADER ADDRESS:PORT RELEASE COMMAND...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &words[..] {
        ["plans", manager, environment, holdfast, state, rounds] => {
            plans::run(manager, environment, holdfast, state, rounds)
        }
        ["load", host, connections, target, command @ ..] if !command.is_empty() => {
            load::run(host, connections, target, command)
        }
        ["until", host, target, release, command @ ..] if !command.is_empty() => {
            until::run(host, target, release, command)
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
