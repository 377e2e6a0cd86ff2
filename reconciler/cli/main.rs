//! `holdfast`: makes plain hosts hold fast to what git says.

mod approval;
mod args;
mod commands;
mod commits;
mod control;
mod error;
mod exit;
mod follower;
mod metrics;
mod output;
mod progress;
mod report;
mod runner;
mod setup;
mod wire;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use holdfast_engine::git::{self, TOKEN_FILE, TOKEN_QUESTION};

use crate::args::Cli;
use crate::exit::Exit;
use crate::output::Output;

/// Sends the log to standard error, where journald takes it. `HOLDFAST_LOG` takes a filter such as `holdfast_engine=debug`.
fn log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}

/// Answers git's question for the token. Runs instead of a verb, in a process that git started for a fetch of ours.
fn answer(file: &Path) -> ExitCode {
    let text = |value: Option<OsString>| value.and_then(|value| value.into_string().ok()).unwrap_or_default();
    let (expected, asked) = (text(std::env::var_os(TOKEN_QUESTION)), text(std::env::args_os().nth(1)));
    match git::answer(file, &expected, &asked) {
        // Nobody but git reads this output.
        Ok(token) => match writeln!(std::io::stdout(), "{}", *token) {
            Ok(()) => Exit::Ok.into(),
            Err(_) => Exit::Failed.into(),
        },
        Err(error) => {
            eprintln!("{error}");
            Exit::Failed.into()
        }
    }
}

fn main() -> ExitCode {
    if let Some(file) = std::env::var_os(TOKEN_FILE) {
        return answer(Path::new(&file));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; they come this way too.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    log(cli.common.verbose);
    let output = Output::new(cli.common.color, cli.common.verbose > 0);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.say(&format!("error: no threads can be started: {error}"));
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(commands::run(output, &cli)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(&error);
            error.exit.into()
        }
    }
}
