//! The scripted host as a program, to be delivered over a real sshd by `tests/sshd.rs`.

mod scripted_host;

fn main() {
    std::process::exit(scripted_host::serve(std::io::stdin().lock(), std::io::stdout().lock()));
}
