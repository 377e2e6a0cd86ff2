//! Requests through nginx whose answers decide whether a release stays.

use std::time::Duration;

use holdfast_protocol::Smoke as Request;

use super::{Act, StepError, Work, fail, http};
use crate::exec::shown;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often one is sent before its answer counts as wrong: one hiccup of a machine under load is no bad release.
const TRIES: u32 = 3;

/// Between two tries.
const EVERY: Duration = Duration::from_millis(500);

/// Sends each request on a connection of its own, in order, and fails at the first whose answer stays wrong.
pub(super) struct Smoke<'a>(pub(super) &'a [Request]);

impl Act for Smoke<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let mut failed = 0;
        for request in self.0 {
            let mut tries = 1;
            while let Err(why) = ask(work, request) {
                failed += 1;
                let why = format!("`{}{}` {why}", request.host, shown(request.path.as_bytes(), 80));
                if tries == TRIES {
                    return fail(why);
                }
                (work.tell)(&why);
                work.pause(EVERY, &why)?;
                tries += 1;
            }
        }
        Ok(format!("{} probes, {failed} failed", self.0.len() + failed))
    }
}

fn ask(work: &Work<'_>, request: &Request) -> Result<(), String> {
    let answer = http::get(request.port, &request.path, &request.host, TIMEOUT.min(work.left()))?;
    answer.expect(&request.status, &request.json)?;
    if String::from_utf8_lossy(&answer.body).contains(&request.contains) {
        return Ok(());
    }
    Err(format!("answered without `{}`: {}", request.contains, shown(&answer.body, 200)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::http::tests::server;
    use super::super::testing::Bench;
    use super::*;

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn request(port: u16) -> Request {
        Request {
            port,
            path: "/".to_owned(),
            host: "shop.example".to_owned(),
            status: Vec::new(),
            json: BTreeMap::new(),
            contains: String::new(),
        }
    }

    #[test]
    fn cap_82_each_answer_is_what_was_said_of_it() {
        let bench = Bench::new();
        let page = Request {
            contains: "<title>Shop".to_owned(),
            ..request(server(vec![answer("200 OK", "<title>Shop</title>")]))
        };
        let gone = Request { status: vec![404, 410], ..request(server(vec![answer("410 Gone", "")])) };
        let json = BTreeMap::from([("checks.db".to_owned(), "ok".to_owned())]);
        let ready = Request { json, ..request(server(vec![answer("200 OK", "{\"checks\":{\"db\":\"ok\"}}")])) };
        let note = Smoke(&[page, gone, ready]).apply(&bench.work(), &[]).unwrap();
        assert_eq!(note, "3 probes, 0 failed");
    }

    #[test]
    fn cap_82_a_wrong_answer_is_asked_for_again_and_then_named() {
        let bench = Bench::new();
        let late = request(server(vec![answer("503 Service Unavailable", ""), answer("200 OK", "")]));
        assert_eq!(Smoke(&[late]).apply(&bench.work(), &[]).unwrap(), "2 probes, 1 failed");

        let other = server(vec![answer("200 OK", "Welcome to nginx!")]);
        let wrong = Request { contains: "Shop".to_owned(), ..request(other) };
        let error = Smoke(&[wrong]).apply(&bench.work(), &[]).unwrap_err().to_string();
        assert!(error.contains("`shop.example/` answered without `Shop`: Welcome to nginx!"), "{error}");

        let broken = request(server(vec![answer("500 Internal Server Error", "trace")]));
        let error = Smoke(&[broken]).apply(&bench.work(), &[]).unwrap_err().to_string();
        assert!(error.contains("answered 500: trace"), "{error}");
    }
}
