//! Proof through nginx of which release answers.

use std::time::{Duration, Instant};

use holdfast_protocol::Prove as Question;

use super::{Act, StepError, Work, fail, http};
use crate::exec::shown;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(50);

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks through nginx which release answers, each time on a fresh connection, until enough answers in a row say the expected one.
pub(super) struct Prove<'a>(pub(super) &'a Question);

impl Act for Prove<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let (mut asked, mut in_a_row) = (0_u32, 0_u32);
        let mut seen = String::new();
        loop {
            asked += 1;
            let why = match self.ask(work) {
                Ok(said) if said == self.0.expect => {
                    in_a_row += 1;
                    if in_a_row >= self.0.passes.max(1) {
                        return Ok(format!("`{}` answers, {in_a_row} times in a row of {asked}", self.0.expect));
                    }
                    continue;
                }
                Ok(said) => {
                    format!("`{}` answers through nginx, expected `{}`", shown(said.as_bytes(), 80), self.0.expect)
                }
                // One that the deadline cut short says less than the one before it.
                Err(_) if Instant::now() >= work.deadline && !seen.is_empty() => std::mem::take(&mut seen),
                Err(why) => format!("nobody answers through nginx: {why}"),
            };
            in_a_row = 0;
            seen.clone_from(&why);
            (work.tell)(&why);
            match work.pause(EVERY, &why) {
                Err(StepError::Failed(error)) => return fail(error),
                other => other?,
            }
        }
    }
}

impl Prove<'_> {
    fn ask(&self, work: &Work<'_>) -> Result<String, String> {
        let question = self.0;
        let answer = http::get(question.port, &question.path, &question.host, TIMEOUT.min(work.left()))?;
        if question.header.is_empty() {
            if !(200..300).contains(&answer.status) {
                return Err(format!("status {}", answer.status));
            }
            return answer.json(&question.json);
        }
        answer
            .header(&question.header)
            .map(str::to_owned)
            .ok_or_else(|| format!("the answer, status {}, has no header `{}`", answer.status, question.header))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::http::tests::server;
    use super::super::testing::Bench;
    use super::*;

    fn question(port: u16, header: &str, json: &str) -> Question {
        Question {
            port,
            path: "/".to_owned(),
            host: "shop.example".to_owned(),
            header: header.to_owned(),
            json: json.to_owned(),
            expect: "green".to_owned(),
            passes: 3,
        }
    }

    fn says(slot: &str) -> String {
        let body = format!("{{\"slot\":\"{slot}\"}}");
        format!("HTTP/1.1 200 OK\r\nX-Slot: {slot}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn cap_43_enough_answers_in_a_row() {
        let bench = Bench::new();
        let answers = || ["blue", "green", "green", "blue", "green"].map(says).to_vec();
        let note = Prove(&question(server(answers()), "x-slot", "")).apply(&bench.work(), &[]).unwrap();
        assert_eq!(note, "`green` answers, 3 times in a row of 7");
        Prove(&question(server(answers()), "", "slot")).apply(&bench.work(), &[]).unwrap();
    }

    #[test]
    fn cap_43_the_wrong_release_fails_and_is_named() {
        let bench = Bench::new();
        let work = Work { deadline: Instant::now() + Duration::from_millis(300), ..bench.work() };
        let error = Prove(&question(server(vec![says("blue")]), "x-slot", "")).apply(&work, &[]).unwrap_err();
        assert!(error.to_string().contains("`blue` answers through nginx, expected `green`"), "{error}");
    }

    #[test]
    fn what_was_answered_is_named_though_the_last_answer_is_cut_off() {
        let bench = Bench::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                if number == 0 {
                    let _ = stream.read(&mut [0; 1024]).unwrap();
                    stream.write_all(says("blue").as_bytes()).unwrap();
                } else {
                    kept.push(stream);
                }
            }
        });
        let work = Work { deadline: Instant::now() + Duration::from_millis(500), ..bench.work() };
        let error = Prove(&question(port, "x-slot", "")).apply(&work, &[]).unwrap_err();
        assert!(error.to_string().contains("`blue` answers through nginx, expected `green`"), "{error}");
    }
}
