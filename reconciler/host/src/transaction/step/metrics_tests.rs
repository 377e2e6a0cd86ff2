use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use holdfast_protocol::{ErrorRule, LatencyRule};

use super::*;

fn rules(ports: Vec<u16>) -> MetricRules {
    MetricRules {
        ports,
        path: "/metrics".to_owned(),
        at_least: 20,
        ignore: BTreeMap::from([("path".to_owned(), "/health*".to_owned())]),
        errors: Some(ErrorRule {
            counter: "requests_total".to_owned(),
            failed: BTreeMap::from([("status".to_owned(), "5*".to_owned())]),
            max_permille: 50,
        }),
        latency: Some(LatencyRule { histogram: "seconds".to_owned(), max_p95_ms: 1000 }),
    }
}

fn page(good: u32, failed: u32, quick: u32, slow: u32) -> String {
    let all = quick + slow;
    format!(
        "# TYPE requests_total counter\nrequests_total{{path=\"/\",status=\"200\"}} {good}\n\
         requests_total{{path=\"/buy\",status=\"503\"}} {failed}\nrequests_total{{path=\"/health/db\",status=\"503\"}} 9999\n\
         # TYPE seconds histogram\nseconds_bucket{{le=\"0.5\"}} 0\nseconds_bucket{{le=\"1\"}} {quick}\n\
         seconds_bucket{{le=\"+Inf\"}} {all}\nseconds_count {all}\nseconds_sum 1\n"
    )
}

/// Answers each request with what is in the cell at that time; an empty text is a 500.
fn serve(text: &Arc<Mutex<String>>) -> u16 {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    let text = Arc::clone(text);
    std::thread::spawn(move || {
        for stream in listening.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = Vec::new();
            let mut piece = [0; 1024];
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => asked.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let body = text.lock().unwrap().clone();
            let status = if body.is_empty() { "500 Oh" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

/// Looks once at each page, one after another.
fn watched<'a>(rules: &'a MetricRules, text: &Arc<Mutex<String>>, pages: &[String]) -> Metrics<'a> {
    let mut metrics = Metrics::new(rules);
    for page in pages {
        page.clone_into(&mut text.lock().unwrap());
        metrics.look().unwrap();
    }
    metrics
}

#[test]
fn cap_37_a_release_whose_own_counts_say_that_it_fails_has_to_go() {
    let text = Arc::default();
    let rules = rules(vec![serve(&text)]);
    let verdict = |pages: &[String]| watched(&rules, &text, pages).verdict();
    // What was there before the window is not judged.
    assert_eq!(verdict(&[page(0, 500, 0, 500)]), None);
    assert_eq!(verdict(&[page(0, 500, 0, 500), page(100, 505, 100, 505)]), None, "5 of 105 are under a twentieth");
    assert_eq!(
        verdict(&[page(0, 500, 0, 0), page(100, 506, 0, 0)]).unwrap(),
        "6 of 106 requests failed by its `requests_total`, at most 50 of 1000 may"
    );
    assert_eq!(
        verdict(&[page(0, 0, 0, 0), page(0, 0, 18, 1), page(0, 0, 18, 3)]).unwrap(),
        "3 of 21 requests took longer than 1000 ms by its `seconds`, one in twenty may"
    );
    // A program that began anew counts from nothing.
    assert_eq!(
        verdict(&[page(900, 0, 0, 0), page(10, 5, 0, 0), page(15, 5, 0, 0)]).unwrap(),
        "5 of 20 requests failed by its `requests_total`, at most 50 of 1000 may"
    );
}

#[test]
fn cap_37_too_few_requests_are_no_verdict_and_say_whether_more_are_waited_for() {
    let text = Arc::default();
    let rules = rules(vec![serve(&text)]);
    let judged = |pages: &[String]| {
        let metrics = watched(&rules, &text, pages);
        (metrics.verdict().is_some(), metrics.is_unclear())
    };
    assert_eq!(judged(&[page(0, 0, 0, 0), page(10, 0, 0, 0)]), (false, false));
    assert_eq!(judged(&[page(0, 0, 0, 0), page(18, 1, 0, 0)]), (false, false), "one alone is no share");
    assert_eq!(judged(&[page(0, 0, 0, 0), page(17, 2, 0, 0)]), (false, true));
    assert_eq!(judged(&[page(0, 0, 0, 0), page(18, 2, 0, 0)]), (true, false));
    assert_eq!(judged(&[page(0, 0, 0, 0), page(0, 0, 3, 2)]), (false, true));
}

#[test]
fn cap_37_replicas_are_counted_together() {
    let (one, other) = (Arc::default(), Arc::default());
    let rules = rules(vec![serve(&one), serve(&other)]);
    let mut metrics = Metrics::new(&rules);
    for (of_one, of_other) in [(page(0, 0, 0, 0), page(0, 0, 0, 0)), (page(95, 0, 0, 0), page(0, 6, 0, 0))] {
        of_one.clone_into(&mut one.lock().unwrap());
        of_other.clone_into(&mut other.lock().unwrap());
        metrics.look().unwrap();
    }
    assert_eq!(metrics.verdict().unwrap(), "6 of 101 requests failed by its `requests_total`, at most 50 of 1000 may");
    assert_eq!(metrics.told(), "101 requests by its metrics, 6 failed, 0 timed, 0 slow");
}

#[test]
fn cap_37_a_release_that_says_nothing_of_itself_is_no_good_release() {
    let text: Arc<Mutex<String>> = Arc::default();
    let rules = rules(vec![serve(&text)]);
    let mut metrics = Metrics::new(&rules);
    metrics.look().unwrap();
    metrics.look().unwrap();
    let error = metrics.look().unwrap_err();
    assert!(error.starts_with("its metrics cannot be read: port ") && error.contains("answered 500"), "{error}");
    // An answer in between, and it may fail anew.
    page(1, 0, 0, 0).clone_into(&mut text.lock().unwrap());
    metrics.look().unwrap();
    text.lock().unwrap().clear();
    metrics.look().unwrap();

    let missing = watched(&rules, &text, &["other_total 3\n".to_owned()]).missing().unwrap();
    assert!(missing.starts_with("it has no metric `requests_total` at /metrics of port "), "{missing}");
    let declared = watched(&rules, &text, &["# TYPE requests_total counter\n# HELP seconds how long\n".to_owned()]);
    assert_eq!((declared.missing(), declared.verdict()), (None, None), "nothing happened yet, and the names are right");
}

#[test]
fn a_histogram_that_cannot_answer_is_told() {
    let rules = rules(Vec::new());
    let error = |text: &str| counts(text, &rules).unwrap_err();
    assert_eq!(
        error("seconds_bucket{le=\"0.5\"} 1\nseconds_bucket{le=\"+Inf\"} 2\n"),
        "the histogram has no bucket at or over 1 s"
    );
    assert_eq!(error("seconds_bucket{le=\"2\"} 1\n"), "the histogram has no bucket `+Inf`");
    assert_eq!(error("seconds_bucket 1\n"), "`seconds_bucket` has no edge `le`");
    assert_eq!(error("requests_total NaN\n"), "`requests_total` counts NaN");
    // The limit falls between two edges: what is under the upper one may have been quick.
    let between =
        counts("seconds_bucket{le=\"0.5\"} 1\nseconds_bucket{le=\"2.5\"} 4\nseconds_bucket{le=\"+Inf\"} 6\n", &rules);
    assert_eq!(between.map(|counts| (counts.timed, counts.slow)), Ok((6.0, 2.0)));
}
