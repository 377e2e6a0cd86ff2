//! The command line of the host program. People have no need of it: the manager starts `serve`, systemd `run` and `resume`.
//! `version` tells the program's version and the protocol's.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_host::backup;
use holdfast_host::certificate;
use holdfast_host::observe::Observer;
use holdfast_host::paths::{Root, System};
use holdfast_host::serve::{self, serve};
use holdfast_host::transaction::{self, Host};

const USAGE: &str = "usage: holdfast-host serve | run TRANSACTION | resume | version | backup run|drill|restore|resume DECLARATION | \
     certificate run|renew DECLARATION";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => answer(),
        ["run", id] => transaction::run_command(&Host::real(), id),
        ["resume"] => transaction::resume_command(&Host::real()),
        ["certificate", words @ ..] => certificate::command(&Host::real(), words),
        ["backup", words @ ..] => backup::command(&Host::real(), words),
        ["version"] => {
            println!("{} {}", env!("CARGO_PKG_VERSION"), holdfast_protocol::PROTOCOL_VERSION);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn answer() -> ExitCode {
    let root = Root::system();
    if let Err(error) = root.prepare() {
        eprintln!("holdfast-host: create {}: {error}", root.path().display());
        return ExitCode::FAILURE;
    }
    let observer = Observer::new(root.clone(), System::real());
    let host = serve::Host::new(root, observer, Box::new(Host::real()));
    match serve(std::io::stdin(), std::io::stdout(), Arc::new(host)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-host: {error}");
            ExitCode::FAILURE
        }
    }
}
