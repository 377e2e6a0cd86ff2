//! `holdfast completions`: shell completions.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Exit;
use crate::output::Output;

/// Prints the completions of one shell.
pub(crate) fn run(output: Output, arguments: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "holdfast", &mut script);
    output.data(&String::from_utf8_lossy(&script));
    Exit::Ok
}
