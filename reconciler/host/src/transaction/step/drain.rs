//! Lets the leaving slot finish what it began.

use std::time::{Duration, Instant};

use super::{Act, StepError, Work, sockets};

/// How often the connections are counted.
const EVERY: Duration = Duration::from_millis(100);

/// How often people are told.
const TELL: Duration = Duration::from_secs(2);

/// Counts in a row without any connection that mean drained: a client may be between two of them.
const QUIET: u32 = 3;

/// Waits until no connection to these ports is established, or the time is over. Never fails.
pub(super) struct Drain<'a> {
    pub(super) ports: &'a [u16],
    pub(super) timeout_ms: u64,
}

impl Act for Drain<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let started = Instant::now();
        let until = started + Duration::from_millis(self.timeout_ms);
        let mut told = started;
        let mut quiet = 0;
        // Where nginx is told another port in place of a redirection, it asks the slot itself like anybody else.
        let redirected = crate::nftables::port_map("holdfast", "switches").is_ok_and(|map| !map.is_empty());
        let count = if redirected { sockets::switched } else { sockets::established };
        loop {
            let open = count(&work.host.system.proc, self.ports).unwrap_or(0);
            quiet = if open == 0 { quiet + 1 } else { 0 };
            if quiet >= QUIET {
                return Ok(format!("no connection left after {} ms", started.elapsed().as_millis()));
            }
            let now = Instant::now();
            if now >= until {
                return Ok(format!("{open} connections are still open after {} ms", self.timeout_ms));
            }
            if now.duration_since(told) >= TELL {
                (work.tell)(&format!("draining: {open} connections are open"));
                told = now;
            }
            // The step's own deadline is no failure here: this step's time is `timeout_ms`.
            if work.pause(EVERY.min(until - now), "drain").is_err() {
                return Ok(format!("{open} connections are still open"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn cap_38_it_waits_for_the_connections_and_no_longer_than_its_time() {
        let bench = Bench::new();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listening.accept().unwrap();
        let note = Drain { ports: &[port], timeout_ms: 150 }.apply(&bench.work(), &[]).unwrap();
        // At least this one: the kernel may lend the port to a client of a test beside this one, to another address.
        let open: usize = note.split_once(" connections are still open").expect(&note).0.parse().unwrap();
        assert!(open >= 1, "{note}");
        drop((client, server));
        let note = Drain { ports: &[port], timeout_ms: 20_000 }.apply(&bench.work(), &[]).unwrap();
        assert!(note.starts_with("no connection left"), "{note}");
    }
}
