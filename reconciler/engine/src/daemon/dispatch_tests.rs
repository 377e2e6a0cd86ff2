use holdfast_core::config::{SyncMode, SyncPolicy};
use holdfast_core::diag::Origin;

use std::collections::BTreeSet;

use holdfast_core::approval::Proposal;
use holdfast_core::protocol::Digest;

use super::super::event::{Checked, Known, Look, Watched};
use super::*;
use crate::daemon::control::{DriftWord, Trouble};
use crate::store::ApprovalRequest;

const POLL: u64 = 60_000;
const CHECK: u64 = 300_000;

/// A dispatcher with a clock that the test moves.
struct Story {
    dispatcher: Dispatcher,
    now: Timestamp,
}

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "stands where failed looks stand too")]
fn look(digit: char, mode: SyncMode, drift: DriftPolicy) -> Result<Look, LookError> {
    let policy = SyncPolicy { mode, drift, ignore: Vec::new(), prune_limit_percent: 20, windows: Vec::new() };
    let watched = Vec::<Watched>::new();
    Ok(Look {
        commit: commit(digit),
        policy,
        approval: false,
        apps: Vec::new(),
        watched,
        keeps: false,
        backups: false,
        after: BTreeSet::new(),
    })
}

fn automatic(digit: char) -> Result<Look, LookError> {
    look(digit, SyncMode::Automatic, DriftPolicy::Report)
}

fn looks_of(looks: &[(&str, Result<Look, LookError>)]) -> Looks {
    let environments = looks.iter().map(|(text, look)| (name(text), look.clone())).collect();
    Looks { fetched: Ok(()), environments }
}

fn ran(result: SyncResult, verdict: SyncVerdict) -> Ran {
    Ran { result, reason: String::new(), verdict, awaits: None, released: None }
}

fn update(digit: char, reference: &str) -> RefUpdate {
    RefUpdate { old: commit('0'), new: commit(digit), name: reference.to_owned() }
}

impl Story {
    fn new(environments: &[&str]) -> Self {
        let settings = Settings { poll_ms: POLL, check_ms: CHECK, seed: 7 };
        Self { dispatcher: Dispatcher::new(settings, environments.iter().map(|text| name(text))), now: Timestamp(1000) }
    }

    fn on(&mut self, event: DaemonEvent) -> Vec<Response> {
        let mut responses = self.dispatcher.handle_event(event, self.now);
        responses.retain(|response| !matches!(response, Response::Status(_) | Response::Watch(..) | Response::Tell(_)));
        responses
    }

    fn started(environments: &[&str]) -> Self {
        let mut this = Self::new(environments);
        assert!(matches!(this.on(DaemonEvent::Started(BTreeMap::new()))[..], [Response::Look(_)]));
        this
    }

    fn looked(&mut self, looks: &[(&str, Result<Look, LookError>)]) -> Vec<Response> {
        let mut responses = self.on(DaemonEvent::Looked(looks_of(looks)));
        responses.retain(|response| !matches!(response, Response::Store(StoreChange::Seen(..)) | Response::Note(_)));
        responses
    }

    fn ended(&mut self, job: &Job, result: SyncResult, verdict: SyncVerdict) -> Vec<Response> {
        self.on(DaemonEvent::Ran(job.clone(), ran(result, verdict)))
    }

    fn after(&mut self, ms: u64) -> Vec<Response> {
        self.now = self.now.plus_ms(ms);
        self.on(DaemonEvent::Tick)
    }

    fn status(&mut self, environment: &str) -> super::super::control::EnvironmentStatus {
        let out = self.on(DaemonEvent::Control(Token(99), ControlRequest::Status));
        let [Response::Reply(_, ControlReply::Status { environments, .. })] = &out[..] else { panic!("{out:?}") };
        environments.iter().find(|one| one.environment == name(environment)).unwrap().clone()
    }
}

fn job(environment: &str, digit: char, cause: SyncCause) -> Job {
    Job { environment: name(environment), kind: JobKind::Sync { commit: commit(digit), cause, app: None } }
}

fn synced() -> (SyncResult, SyncVerdict) {
    (SyncResult::Synced, SyncVerdict::Settled)
}

#[test]
fn cap_01_a_new_commit_is_synced_in_every_automatic_environment_at_once() {
    let mut this = Story::started(&["prod", "stage", "hand"]);
    let manual = look('a', SyncMode::Manual, DriftPolicy::Off);
    let out = this.looked(&[("prod", automatic('a')), ("stage", automatic('a')), ("hand", manual)]);
    let start = |environment| Response::Start(job(environment, 'a', SyncCause::Commit));
    assert_eq!(out, [start("prod"), start("stage")]);
    // What a person is to apply is at least compared, so that `status` can say what waits.
    assert_eq!(this.after(SETTLE_MS), [Response::Check(name("hand"), commit('a'))]);
    let found = Checked { changes: 3, kept_long_enough: 0, kept_until: None, blockers: Vec::new() };
    this.on(DaemonEvent::Checked(name("hand"), Ok(found)));
    assert_eq!(this.status("hand").drift, DriftWord::OutOfSync { changes: 3, blockers: Vec::new() });
}

#[test]
fn cap_02_only_the_environment_that_moved_is_synced() {
    let mut this = Story::started(&["production", "staging"]);
    let first = |environment| job(environment, 'a', SyncCause::Commit);
    this.looked(&[("production", automatic('a')), ("staging", automatic('a'))]);
    let (result, verdict) = synced();
    for environment in ["production", "staging"] {
        assert_eq!(this.ended(&first(environment), result, verdict), []);
    }
    let mut pushed = |production, staging| {
        this.on(DaemonEvent::RepositoryChanged);
        this.looked(&[("production", automatic(production)), ("staging", automatic(staging))])
    };
    let start = |environment, digit| Response::Start(job(environment, digit, SyncCause::Commit));
    assert_eq!(pushed('a', 'b'), [start("staging", 'b')], "a push to its branch");
    assert_eq!(pushed('a', 'b'), [], "a push to another branch");
    assert_eq!(pushed('b', 'b'), [start("production", 'b')], "a tag");
}

#[test]
fn cap_11_of_many_commits_during_a_sync_only_the_newest_follows() {
    let mut this = Story::started(&["prod"]);
    let first = job("prod", 'a', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", automatic('a'))]), [Response::Start(first.clone())]);
    for digit in ['b', 'c', 'd'] {
        assert!(matches!(this.on(DaemonEvent::RepositoryChanged)[..], [Response::Look(_)]));
        assert_eq!(this.looked(&[("prod", automatic(digit))]), []);
    }
    assert!(this.status("prod").waiting);
    let (result, verdict) = synced();
    assert_eq!(this.ended(&first, result, verdict), [Response::Start(job("prod", 'd', SyncCause::Commit))]);
}

#[test]
fn a_flood_of_hints_makes_one_look_and_one_more() {
    let mut this = Story::started(&["prod"]);
    let looks: usize = (0..10_000).map(|_| this.on(DaemonEvent::RepositoryChanged).len()).sum();
    assert_eq!(looks, 0, "the first look still runs");
    let out = this.looked(&[("prod", automatic('a'))]);
    assert_eq!(out.iter().filter(|response| matches!(response, Response::Look(_))).count(), 1);
    assert_eq!(this.looked(&[("prod", automatic('a'))]), []);
}

#[test]
fn polling_is_the_floor_and_does_not_come_at_the_same_moment_everywhere() {
    let intervals: Vec<u64> = (0..20)
        .map(|seed| {
            let settings = Settings { poll_ms: POLL, check_ms: CHECK, seed };
            let mut dispatcher = Dispatcher::new(settings, [name("prod")]);
            dispatcher.handle_event(DaemonEvent::Started(BTreeMap::new()), Timestamp(0));
            dispatcher.handle_event(DaemonEvent::Looked(looks_of(&[])), Timestamp(0));
            let at = dispatcher.deadline().unwrap();
            let early = dispatcher.handle_event(DaemonEvent::Tick, Timestamp(at.0 - 1));
            assert_eq!(early, []);
            let due = dispatcher.handle_event(DaemonEvent::Tick, at);
            assert!(matches!(due[..], [Response::Look(_)]), "{due:?}");
            at.0
        })
        .collect();
    assert!(intervals.iter().all(|at| (POLL * 9 / 10..=POLL * 11 / 10).contains(at)), "{intervals:?}");
    assert!(intervals.iter().collect::<std::collections::BTreeSet<_>>().len() > 10, "{intervals:?}");
}

#[test]
fn a_failed_sync_is_tried_again_later_and_a_quarantined_one_is_not() {
    let mut this = Story::started(&["prod"]);
    let first = job("prod", 'a', SyncCause::Commit);
    this.looked(&[("prod", automatic('a'))]);
    assert_eq!(this.ended(&first, SyncResult::Failed, SyncVerdict::TryAgain), []);
    let wake = this.dispatcher.deadline().unwrap();
    assert!(wake.since_ms(this.now) <= 5_000, "{wake:?}");
    this.now = wake;
    assert_eq!(this.on(DaemonEvent::Tick), [Response::Start(job("prod", 'a', SyncCause::Resume))]);
    assert_eq!(this.ended(&job("prod", 'a', SyncCause::Resume), SyncResult::Blocked, SyncVerdict::Settled), []);
    assert!(this.dispatcher.deadline().unwrap().since_ms(this.now) > 40_000);
    // The same commit again is nothing new.
    this.on(DaemonEvent::RepositoryChanged);
    assert_eq!(this.looked(&[("prod", automatic('a'))]), []);
}

#[test]
fn drift_is_looked_at_once_for_many_hints_and_then_healed_or_reported() {
    for (policy, heals) in [(DriftPolicy::Heal, true), (DriftPolicy::Report, false)] {
        let mut this = Story::started(&["prod"]);
        this.looked(&[("prod", look('a', SyncMode::Automatic, policy))]);
        let (result, verdict) = synced();
        this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
        assert_eq!(this.status("prod").drift, DriftWord::InSync);
        // Several hints in a row are one change.
        for _ in 0..5 {
            assert_eq!(this.on(DaemonEvent::HostChanged(name("prod"))), []);
        }
        assert_eq!(this.dispatcher.deadline(), Some(this.now.plus_ms(SETTLE_MS)));
        assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit('a'))], "{policy:?}");
        assert_eq!(this.after(SETTLE_MS), []);
        let found = Checked { changes: 1, kept_long_enough: 0, kept_until: None, blockers: Vec::new() };
        let out = this.on(DaemonEvent::Checked(name("prod"), Ok(found)));
        let start = Response::Start(job("prod", 'a', SyncCause::Drift));
        assert_eq!(out, Vec::from_iter(heals.then_some(start)), "{policy:?}");
    }
}

#[test]
fn where_drift_is_off_a_late_hint_of_a_host_is_nothing() {
    let mut this = Story::started(&["prod"]);
    let (result, verdict) = synced();
    this.looked(&[("prod", look('a', SyncMode::Automatic, DriftPolicy::Heal))]);
    this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
    // The last words before and the first after.
    this.on(DaemonEvent::HostChanged(name("prod")));
    this.on(DaemonEvent::RepositoryChanged);
    this.looked(&[("prod", look('b', SyncMode::Automatic, DriftPolicy::Off))]);
    this.ended(&job("prod", 'b', SyncCause::Commit), result, verdict);
    assert_eq!(this.after(SETTLE_MS), []);
    this.on(DaemonEvent::HostChanged(name("prod")));
    assert_eq!(this.after(SETTLE_MS), []);
    assert_eq!(this.status("prod").drift, DriftWord::InSync);
}

#[test]
fn what_was_kept_long_enough_is_cleared_away_unless_anything_else_waits() {
    let kept = |changes| Checked { changes, kept_long_enough: 2, kept_until: None, blockers: Vec::new() };
    let start = [Response::Start(job("prod", 'a', SyncCause::Timer))];
    for (mode, changes, begins) in
        [(SyncMode::Automatic, 0, true), (SyncMode::Automatic, 1, false), (SyncMode::Manual, 0, false)]
    {
        let mut this = Story::new(&["prod"]);
        let known = Known { seen: Some(commit('a')), synced: Some(commit('a')), ..Known::default() };
        this.on(DaemonEvent::Started([(name("prod"), known)].into()));
        this.looked(&[("prod", look('a', mode, DriftPolicy::Report))]);
        if mode == SyncMode::Automatic {
            let (result, verdict) = synced();
            this.ended(&job("prod", 'a', SyncCause::Resume), result, verdict);
        }
        this.on(DaemonEvent::HostChanged(name("prod")));
        assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit('a'))]);
        let out = this.on(DaemonEvent::Checked(name("prod"), Ok(kept(changes))));
        assert_eq!(out, if begins { start.to_vec() } else { Vec::new() }, "{mode:?} with {changes} other changes");
    }
}

#[test]
fn what_could_not_be_looked_at_is_never_healed() {
    let mut this = Story::started(&["prod"]);
    this.looked(&[("prod", look('a', SyncMode::Automatic, DriftPolicy::Heal))]);
    let (result, verdict) = synced();
    this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
    for unknown in [
        Err("no answer".to_owned()),
        Ok(Checked { changes: 0, kept_long_enough: 0, kept_until: None, blockers: vec!["unreachable: x".to_owned()] }),
    ] {
        this.on(DaemonEvent::HostChanged(name("prod")));
        assert_eq!(this.after(SETTLE_MS).len(), 1);
        assert_eq!(this.on(DaemonEvent::Checked(name("prod"), unknown)), []);
        assert_ne!(this.status("prod").drift, DriftWord::InSync);
    }
}

#[test]
fn a_manual_environment_is_healed_to_what_was_applied_not_to_what_waits() {
    let mut this = Story::new(&["prod"]);
    let known = Known { seen: Some(commit('a')), synced: Some(commit('a')), ..Known::default() };
    this.on(DaemonEvent::Started([(name("prod"), known)].into()));
    this.looked(&[("prod", look('b', SyncMode::Manual, DriftPolicy::Heal))]);
    assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit('a'))]);
    let out = this.on(DaemonEvent::Checked(
        name("prod"),
        Ok(Checked { changes: 2, kept_long_enough: 0, kept_until: None, blockers: Vec::new() }),
    ));
    assert_eq!(out, [Response::Start(job("prod", 'a', SyncCause::Drift))]);
}

#[test]
fn a_host_that_changes_because_of_a_sync_is_not_looked_at_before_its_end() {
    let mut this = Story::started(&["prod"]);
    this.looked(&[("prod", look('a', SyncMode::Automatic, DriftPolicy::Heal))]);
    this.on(DaemonEvent::HostChanged(name("prod")));
    assert_eq!(this.after(SETTLE_MS * 4), []);
    assert!(this.dispatcher.deadline().unwrap() > this.now, "no busy loop while it runs");
}

#[test]
fn what_a_crash_cut_short_is_resumed_also_where_syncs_are_manual_or_git_is_gone() {
    let known = || {
        let known = Known { seen: Some(commit('a')), unfinished: Some(commit('a')), ..Known::default() };
        DaemonEvent::Started([(name("prod"), known)].into())
    };
    let gone = || Err(LookError { commit: None, reason: "no such branch".to_owned() });
    let cases = [
        (look('a', SyncMode::Manual, DriftPolicy::Off), 'a', SyncCause::Resume),
        (look('b', SyncMode::Manual, DriftPolicy::Off), 'a', SyncCause::Resume),
        (gone(), 'a', SyncCause::Resume),
        (automatic('a'), 'a', SyncCause::Resume),
        // The newest commit finishes what the older one began, and goes on from there.
        (automatic('b'), 'b', SyncCause::Commit),
    ];
    for (look, digit, cause) in cases {
        let mut this = Story::new(&["prod"]);
        this.on(known());
        assert_eq!(this.looked(&[("prod", look)]), [Response::Start(job("prod", digit, cause))]);
    }
}

#[test]
fn a_push_is_followed_to_the_end_of_its_sync() {
    let mut this = Story::started(&["prod", "hand"]);
    this.looked(&[]);
    let token = Token(5);
    let request = ControlRequest::Received { updates: vec![update('a', "refs/heads/main")] };
    assert!(matches!(this.on(DaemonEvent::Control(token, request))[..], [Response::Look(_)]));
    let manual = look('a', SyncMode::Manual, DriftPolicy::Off);
    let out = this.looked(&[("prod", automatic('a')), ("hand", manual)]);
    let messages: Vec<_> = out
        .iter()
        .filter_map(|response| match response {
            Response::Reply(Token(5), ControlReply::Message { text }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(messages.len(), 2, "{out:?}");
    assert!(messages[0].contains("hand is synced by hand") && messages[1].contains("prod goes to aaaaaaaaaa"));
    assert!(out.contains(&Response::Stream(token, name("prod"))));
    let out = this.ended(&job("prod", 'a', SyncCause::Commit), SyncResult::RolledBack, SyncVerdict::Settled);
    let [Response::Reply(Token(5), ControlReply::Ended { ends })] = &out[..] else { panic!("{out:?}") };
    assert_eq!((ends.len(), ends[0].result), (1, SyncResult::RolledBack));
}

#[test]
fn a_push_that_was_noticed_before_its_hook_spoke_is_followed_all_the_same() {
    for over in [false, true] {
        let mut this = Story::started(&["prod"]);
        assert_eq!(this.looked(&[("prod", automatic('a'))]).len(), 1);
        if over {
            let (result, verdict) = synced();
            this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
        }
        let request = ControlRequest::Received { updates: vec![update('a', "refs/heads/main")] };
        this.on(DaemonEvent::Control(Token(5), request));
        let out = this.looked(&[("prod", automatic('a'))]);
        let ended = out.iter().any(|one| matches!(one, Response::Reply(_, ControlReply::Ended { .. })));
        let follows = out.contains(&Response::Stream(Token(5), name("prod")));
        assert_eq!((follows, ended), (!over, over), "{out:?}");
    }
}

#[test]
fn an_overtaken_push_ends_with_the_one_that_overtook_it() {
    let mut this = Story::started(&["prod"]);
    this.looked(&[("prod", automatic('a'))]);
    for (token, digit) in [(Token(1), 'b'), (Token(2), 'c')] {
        let request = ControlRequest::Received { updates: vec![update(digit, "refs/heads/main")] };
        this.on(DaemonEvent::Control(token, request));
        this.looked(&[("prod", automatic(digit))]);
    }
    let (result, verdict) = synced();
    let out = this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
    assert_eq!(out, [Response::Start(job("prod", 'c', SyncCause::Commit))], "nobody is told yet");
    let out = this.ended(&job("prod", 'c', SyncCause::Commit), result, verdict);
    let told =
        |token| out.iter().any(|one| matches!(one, Response::Reply(t, ControlReply::Ended { .. }) if *t == token));
    assert!(told(Token(1)) && told(Token(2)), "{out:?}");
}

#[test]
fn a_push_nobody_follows_and_one_that_cannot_be_used_say_so() {
    let mut this = Story::started(&["prod"]);
    this.looked(&[("prod", automatic('a'))]);
    let push = |digit| ControlRequest::Received { updates: vec![update(digit, "refs/heads/topic")] };
    this.on(DaemonEvent::Control(Token(1), push('e')));
    let out = this.looked(&[("prod", automatic('a'))]);
    let text = ControlReply::message("no environment follows what was pushed");
    assert_eq!(out, [Response::Reply(Token(1), text), Response::Reply(Token(1), ControlReply::Done)]);

    this.on(DaemonEvent::Control(Token(2), push('f')));
    let problem = LookError { commit: Some(commit('f')), reason: "unknown key `prot`".to_owned() };
    let out = this.looked(&[("prod", Err(problem))]);
    let text = ControlReply::message("prod: unknown key `prot`");
    assert_eq!(out, [Response::Reply(Token(2), text), Response::Reply(Token(2), ControlReply::Done)]);
    assert_eq!(this.status("prod").seen, Some(commit('a')), "the last good commit keeps serving");
}

fn suspend(app: Option<&str>) -> ControlRequest {
    let app = app.map(|app| app.parse().unwrap());
    ControlRequest::Suspend { environment: name("prod"), app, by: "ada".to_owned(), reason: "freeze".to_owned() }
}

#[test]
fn a_suspended_app_leaves_the_environment_automatic_and_is_synced_when_resumed() {
    let mut this = Story::started(&["prod"]);
    let out = this.on(DaemonEvent::Control(Token(1), suspend(Some("nps"))));
    assert!(matches!(out[..], [Response::Store(StoreChange::Suspended(_)), Response::Reply(_, ControlReply::Done)]));
    let sync = job("prod", 'a', SyncCause::Commit);
    assert!(this.looked(&[("prod", automatic('a'))]).contains(&Response::Start(sync.clone())));
    let resume = ControlRequest::Resume { environment: name("prod"), app: Some("nps".parse().unwrap()) };
    let out = this.on(DaemonEvent::Control(Token(2), resume));
    let word = OperatorWord { app: Some("nps".parse().unwrap()), verb: OperatorVerb::Resume };
    assert!(out.contains(&Response::Say(None, name("prod"), word)), "a held rollout goes on: {out:?}");
    let written = StoreChange::Resumed(name("prod"), Some("nps".parse().unwrap()));
    assert!(out.contains(&Response::Store(written)), "{out:?}");
    let out = this.ended(&sync, SyncResult::Blocked, SyncVerdict::Settled);
    assert_eq!(out, [Response::Start(job("prod", 'a', SyncCause::Commit))]);
}

#[test]
fn a_suspended_environment_starts_nothing_by_itself_but_does_what_a_person_says() {
    let mut this = Story::started(&["prod"]);
    let suspend = suspend(None);
    let out = this.on(DaemonEvent::Control(Token(1), suspend));
    assert!(matches!(out[..], [Response::Store(StoreChange::Suspended(_)), Response::Reply(_, ControlReply::Done)]));
    assert_eq!(this.looked(&[("prod", look('a', SyncMode::Automatic, DriftPolicy::Heal))]), []);
    assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit('a'))], "reported, not healed");
    this.on(DaemonEvent::Checked(name("prod"), Err("a host is away".to_owned())));
    assert_eq!(this.status("prod").drift, DriftWord::Unknown);

    let sync = ControlRequest::Sync { environment: name("prod"), app: None };
    let out = this.on(DaemonEvent::Control(Token(2), sync));
    let start = Response::Start(job("prod", 'a', SyncCause::Operator));
    assert_eq!(out, [Response::Stream(Token(2), name("prod")), start.clone()]);
    let (result, verdict) = synced();
    this.ended(&job("prod", 'a', SyncCause::Operator), result, verdict);
    let resume = ControlRequest::Resume { environment: name("prod"), app: None };
    let start = Response::Start(job("prod", 'a', SyncCause::Commit));
    assert!(this.on(DaemonEvent::Control(Token(3), resume.clone())).contains(&start));
    this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
    let again = this.on(DaemonEvent::Control(Token(4), resume));
    assert!(matches!(again[..], [Response::Reply(_, ControlReply::Refused { .. })]));
}

#[test]
fn a_rollback_runs_between_syncs_and_never_beside_one() {
    let mut this = Story::started(&["prod"]);
    let sync = job("prod", 'a', SyncCause::Commit);
    this.looked(&[("prod", automatic('a'))]);
    let back = ControlRequest::Rollback { environment: name("prod"), app: "nps".parse().unwrap() };
    let out = this.on(DaemonEvent::Control(Token(1), back));
    assert_eq!(out, [Response::Stream(Token(1), name("prod"))], "a sync runs");
    this.on(DaemonEvent::RepositoryChanged);
    assert_eq!(this.looked(&[("prod", automatic('b'))]), []);

    let rollback =
        Job { environment: name("prod"), kind: JobKind::Rollback { commit: commit('a'), app: "nps".parse().unwrap() } };
    let (result, verdict) = synced();
    let out = this.ended(&sync, result, verdict);
    assert_eq!(out, [Response::Start(rollback.clone())], "the follower of the rollback is not told of the sync");
    // The queue gave out the newer commit meanwhile; it starts after the rollback, and only once.
    let out = this.ended(&rollback, result, verdict);
    let started: Vec<_> = out.iter().filter(|one| matches!(one, Response::Start(_))).collect();
    assert_eq!(started, [&Response::Start(job("prod", 'b', SyncCause::Commit))]);
    assert!(out.iter().any(|one| matches!(one, Response::Reply(Token(1), ControlReply::Ended { .. }))), "{out:?}");
}

#[test]
fn words_reach_a_running_rollout_only() {
    let mut this = Story::started(&["prod"]);
    let pause = || ControlRequest::Pause { environment: name("prod"), app: None };
    let out = this.on(DaemonEvent::Control(Token(1), pause()));
    assert!(matches!(out[..], [Response::Reply(_, ControlReply::Refused { .. })]));
    this.looked(&[("prod", automatic('a'))]);
    let out = this.on(DaemonEvent::Control(Token(1), pause()));
    let word = OperatorWord { app: None, verb: OperatorVerb::Pause };
    assert_eq!(out, [Response::Say(Some(Token(1)), name("prod"), word)], "the rollout answers");
    let nowhere = ControlRequest::Abort { environment: name("nowhere"), app: None };
    let out = this.on(DaemonEvent::Control(Token(1), nowhere));
    assert!(matches!(&out[..], [Response::Reply(_, ControlReply::Refused { reason })] if reason.contains("nowhere")));
}

#[test]
fn stopping_waits_for_what_runs_and_starts_nothing_more() {
    let mut this = Story::started(&["prod"]);
    this.looked(&[("prod", automatic('a'))]);
    assert_eq!(this.on(DaemonEvent::Stop), []);
    assert_eq!(this.on(DaemonEvent::RepositoryChanged), []);
    assert_eq!(this.dispatcher.deadline(), None);
    let (result, verdict) = synced();
    assert_eq!(this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict), [Response::Exit]);
}

/// A look where people must agree first.
fn asking(digit: char, drift: DriftPolicy) -> Result<Look, LookError> {
    look(digit, SyncMode::Automatic, drift).map(|look| Look { approval: true, ..look })
}

fn waiting(digit: char) -> ApprovalRequest {
    let proposal = Proposal { environment: name("prod"), commit: commit(digit), seal: Digest([7; 32]) };
    ApprovalRequest { proposal, changes: 1, required: 1, given: BTreeSet::new(), at: Timestamp(0) }
}

fn word(digit: char, given: &[&str]) -> Approved {
    let given = given.iter().map(|by| (*by).to_owned()).collect();
    Approved { proposal: waiting(digit).proposal, by: "ada".to_owned(), given, required: 1, begins: false }
}

impl Story {
    /// The sync of a commit ends with a plan that waits, in an environment that was released at `released`.
    fn waits(&mut self, job: &Job, released: Option<char>) -> Vec<Response> {
        let ran = ran(SyncResult::AwaitsApproval, SyncVerdict::Settled);
        let awaits = Some(waiting(job.kind.commit().as_str().chars().next().unwrap()));
        self.on(DaemonEvent::Ran(job.clone(), Ran { awaits, released: released.map(commit), ..ran }))
    }

    fn approved(&mut self, word: Result<Approved, String>) -> (ControlReply, Vec<Response>) {
        let request = ControlRequest::Approve { environment: name("prod"), seal: "7".repeat(12), name: None };
        let out = self.on(DaemonEvent::Control(Token(5), request));
        assert_eq!(out, [Response::Approve(Token(5), name("prod"), "7".repeat(12), None)]);
        let mut out = self.on(DaemonEvent::Approved(Token(5), name("prod"), word));
        let Response::Reply(Token(5), reply) = out.remove(0) else { panic!("{out:?}") };
        (reply, out)
    }
}

#[test]
fn cap_03_a_new_tag_waits_and_the_last_word_begins_it_once() {
    let mut this = Story::started(&["prod"]);
    let first = job("prod", 'a', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", asking('a', DriftPolicy::Report))]), [Response::Start(first.clone())]);
    assert_eq!(this.waits(&first, None), [], "nothing is tried again by itself");
    assert_eq!(this.status("prod").awaits, Some(waiting('a')));

    let (reply, out) = this.approved(Err("she wrote it".to_owned()));
    assert_eq!((reply, out), (ControlReply::Refused { reason: "she wrote it".to_owned() }, Vec::new()));
    let (reply, out) = this.approved(Ok(word('a', &[])));
    assert!(matches!(reply, ControlReply::Approved { approved } if !approved.begins), "too few");
    assert_eq!(out, []);
    let (reply, out) = this.approved(Ok(word('a', &["ada"])));
    assert!(matches!(reply, ControlReply::Approved { approved } if approved.begins));
    let begun = job("prod", 'a', SyncCause::Approval);
    assert_eq!(out, [Response::Start(begun.clone())]);
    let done = Ran { released: Some(commit('a')), ..ran(SyncResult::Synced, SyncVerdict::Settled) };
    assert_eq!(this.on(DaemonEvent::Ran(begun, done)), []);
    assert_eq!(this.status("prod").awaits, None);
}

#[test]
fn cap_03_a_word_on_a_commit_that_was_overtaken_begins_nothing() {
    let mut this = Story::started(&["prod"]);
    let first = job("prod", 'a', SyncCause::Commit);
    this.looked(&[("prod", asking('a', DriftPolicy::Report))]);
    this.waits(&first, None);
    this.on(DaemonEvent::RepositoryChanged);
    let newer = job("prod", 'b', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", asking('b', DriftPolicy::Report))]), [Response::Start(newer.clone())]);
    this.waits(&newer, None);
    let (reply, out) = this.approved(Ok(word('a', &["ada"])));
    assert!(matches!(reply, ControlReply::Approved { approved } if !approved.begins));
    assert_eq!(out, []);
}

#[test]
fn cap_03_drift_is_healed_to_what_was_released_and_never_to_what_waits() {
    let drifted = || Ok(Checked { changes: 1, kept_long_enough: 0, kept_until: None, blockers: Vec::new() });
    for released in [None, Some('a')] {
        let mut this = Story::started(&["prod"]);
        let newer = job("prod", 'b', SyncCause::Commit);
        this.looked(&[("prod", asking('b', DriftPolicy::Heal))]);
        this.waits(&newer, released);
        this.on(DaemonEvent::HostChanged(name("prod")));
        let compared = released.unwrap_or('b');
        assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit(compared))]);
        let out = this.on(DaemonEvent::Checked(name("prod"), drifted()));
        match released {
            None => assert_eq!(out, [], "nothing was ever agreed to"),
            Some(digit) => assert_eq!(out, [Response::Start(job("prod", digit, SyncCause::Drift))]),
        }
    }
}

#[test]
fn cap_03_healing_does_not_take_the_place_of_what_was_just_approved() {
    let mut this = Story::started(&["prod"]);
    let newer = job("prod", 'b', SyncCause::Commit);
    this.looked(&[("prod", asking('b', DriftPolicy::Heal))]);
    this.waits(&newer, Some('a'));
    this.on(DaemonEvent::HostChanged(name("prod")));
    this.after(SETTLE_MS);
    // An app of it is rolled back just now, so that the approved sync has to wait.
    let back = ControlRequest::Rollback { environment: name("prod"), app: "nps".parse().unwrap() };
    let out = this.on(DaemonEvent::Control(Token(1), back));
    let Some(Response::Start(busy)) = out.last().cloned() else { panic!("{out:?}") };
    let (_, out) = this.approved(Ok(word('b', &["ada"])));
    assert_eq!(out, []);
    let found = Checked { changes: 1, kept_long_enough: 0, kept_until: None, blockers: Vec::new() };
    this.on(DaemonEvent::Checked(name("prod"), Ok(found)));
    let out = this.ended(&busy, SyncResult::Synced, SyncVerdict::Settled);
    assert!(out.contains(&Response::Start(job("prod", 'b', SyncCause::Approval))), "{out:?}");
}

#[test]
fn cap_79_a_repository_that_fails_twice_is_told_once_and_drift_when_it_comes() {
    let mut this = Story::started(&["prod"]);
    let told = |this: &mut Story, event: DaemonEvent| -> Vec<String> {
        let out = this.dispatcher.handle_event(event, this.now);
        let told = out.into_iter().filter_map(|response| match response {
            Response::Tell(told) => Some(told),
            _ => None,
        });
        told.flat_map(|told| {
            told.holds.into_iter().map(|one| one.key).chain(told.over.into_iter().map(|key| format!("-{key}")))
        })
        .collect()
    };
    let look = |this: &mut Story, look: Result<Look, LookError>| {
        told(this, DaemonEvent::RepositoryChanged);
        let fetched = match &look {
            Err(LookError { commit: None, reason }) => Err(reason.clone()),
            _ => Ok(()),
        };
        told(this, DaemonEvent::Looked(Looks { fetched, ..looks_of(&[("prod", look)]) }))
    };
    let failed = || Err(LookError { commit: None, reason: "no route".to_owned() });
    assert_eq!(look(&mut this, failed()), [""; 0], "one hiccup is none");
    assert_eq!(look(&mut this, failed()), ["prod/git"]);
    assert_eq!(look(&mut this, failed()), [""; 0]);
    assert_eq!(look(&mut this, automatic('a')), ["-prod/git"]);
    let bad = Err(LookError { commit: Some(commit('b')), reason: "line 3".to_owned() });
    assert_eq!(look(&mut this, bad), ["prod/git"]);

    let (result, verdict) = synced();
    this.ended(&job("prod", 'a', SyncCause::Commit), result, verdict);
    let check = |this: &mut Story, changes| {
        this.on(DaemonEvent::HostChanged(name("prod")));
        this.after(SETTLE_MS);
        told(
            this,
            DaemonEvent::Checked(
                name("prod"),
                Ok(Checked { changes, kept_long_enough: 0, kept_until: None, blockers: Vec::new() }),
            ),
        )
    };
    assert_eq!(check(&mut this, 2), ["prod/drift"]);
    assert_eq!(check(&mut this, 2), [""; 0]);
    assert_eq!(check(&mut this, 0), ["-prod/drift"]);
}

/// Closed on Mondays from 00:00 to 10:00 UTC; 1970-01-05 was one. `shop` alone, or all of `shop` and `blog`.
fn windowed(digit: char, apps: &[&str], manual: bool) -> Result<Look, LookError> {
    let name = |text: &&str| text.parse::<AppName>().unwrap();
    let window = holdfast_core::window::Window {
        kind: holdfast_core::window::WindowKind::Deny,
        schedule: holdfast_core::window::Schedule::Hours("Mon 00:00-10:00".parse().unwrap()),
        zone: holdfast_core::window::Zone::default(),
        apps: apps.iter().map(name).collect(),
        manual,
        origin: Origin { file: "environments/prod/environment.yaml".to_owned(), line: 7, column: 5 },
    };
    let mut look = look(digit, SyncMode::Automatic, DriftPolicy::Heal)?;
    look.policy.windows.push(window);
    look.apps = ["shop", "blog"].iter().map(name).collect();
    Ok(look)
}

const HOUR: u64 = 3_600_000;
/// Monday, 1970-01-05 08:00 UTC.
const MONDAY_AT_8: Timestamp = Timestamp(4 * 24 * HOUR + 8 * HOUR);

fn on_monday() -> Story {
    let mut this = Story::new(&["prod"]);
    this.now = MONDAY_AT_8;
    this.on(DaemonEvent::Started(BTreeMap::new()));
    this
}

#[test]
fn what_comes_while_all_is_closed_waits_for_the_opening() {
    let mut this = on_monday();
    assert_eq!(this.looked(&[("prod", windowed('a', &[], false))]), []);
    assert_eq!(this.looked(&[("prod", windowed('b', &[], false))]), []);
    let status = this.status("prod");
    assert!(status.waiting && status.running.is_none());
    assert_eq!(status.closed.len(), 2);
    assert!(status.closed[0].contains("blog is closed until Mon 1970-01-05 10:00 UTC, by environments/prod"));
    // Nothing but the look at the repository and the hosts wakes it before.
    let mut next = this.dispatcher.deadline().unwrap();
    while next < MONDAY_AT_8.plus_ms(2 * HOUR) {
        this.now = next;
        let out = this.on(DaemonEvent::Tick);
        assert!(!out.iter().any(|one| matches!(one, Response::Start(_))), "{out:?}");
        if out.iter().any(|one| matches!(one, Response::Look(_))) {
            this.looked(&[("prod", windowed('b', &[], false))]);
        }
        // A drifted host is not healed while it is closed either.
        if out.iter().any(|one| matches!(one, Response::Check(..))) {
            let found = Checked { changes: 3, kept_long_enough: 0, kept_until: None, blockers: Vec::new() };
            assert_eq!(this.on(DaemonEvent::Checked(name("prod"), Ok(found))), []);
        }
        next = this.dispatcher.deadline().unwrap();
    }
    assert_eq!(next, MONDAY_AT_8.plus_ms(2 * HOUR));
    this.now = next;
    let out = this.on(DaemonEvent::Tick);
    assert!(out.contains(&Response::Start(job("prod", 'b', SyncCause::Commit))), "{out:?}");
}

#[test]
fn what_is_left_out_of_a_sync_is_synced_when_it_opens() {
    let mut this = on_monday();
    let first = job("prod", 'a', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", windowed('a', &["shop"], false))]), [Response::Start(first.clone())]);
    this.ended(&first, SyncResult::Blocked, SyncVerdict::Settled);
    this.now = MONDAY_AT_8.plus_ms(2 * HOUR);
    let out = this.on(DaemonEvent::Tick);
    assert!(out.contains(&Response::Start(job("prod", 'a', SyncCause::Timer))), "{out:?}");
}

#[test]
fn what_began_before_is_ended_while_it_is_closed() {
    let mut this = Story::new(&["prod"]);
    this.now = MONDAY_AT_8;
    let known = Known { seen: Some(commit('a')), unfinished: Some(commit('a')), ..Known::default() };
    this.on(DaemonEvent::Started([(name("prod"), known)].into()));
    let first = job("prod", 'a', SyncCause::Resume);
    assert_eq!(this.looked(&[("prod", windowed('a', &[], false))]), [Response::Start(first.clone())]);
    // It failed half way: that, too, is brought to its end.
    this.ended(&first, SyncResult::Failed, SyncVerdict::TryAgain);
    let again = this.after(60_000);
    assert!(again.contains(&Response::Start(first.clone())), "{again:?}");
    // What never began is not.
    this.ended(&first, SyncResult::Blocked, SyncVerdict::TryAgain);
    let out = this.after(60_000);
    assert!(!out.iter().any(|one| matches!(one, Response::Start(_))), "{out:?}");
}

#[test]
fn a_pusher_is_told_and_does_not_wait_for_the_opening() {
    let mut this = on_monday();
    this.looked(&[("prod", windowed('a', &[], false))]);
    this.on(DaemonEvent::Control(Token(1), ControlRequest::Received { updates: vec![update('b', "refs/heads/main")] }));
    let out = this.looked(&[("prod", windowed('b', &[], false))]);
    let [Response::Reply(_, ControlReply::Message { text }), Response::Reply(_, ControlReply::Done)] = &out[..] else {
        panic!("{out:?}");
    };
    assert!(text.starts_with("prod is closed until Mon 1970-01-05 10:00 UTC"), "{text}");
}

#[test]
fn one_who_follows_what_must_wait_after_all_is_let_go() {
    let mut this = Story::new(&["prod"]);
    this.now = Timestamp(MONDAY_AT_8.0 - 8 * HOUR - 1_000);
    this.on(DaemonEvent::Started(BTreeMap::new()));
    let first = job("prod", 'a', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", windowed('a', &[], false))]), [Response::Start(first.clone())]);
    this.on(DaemonEvent::Control(Token(1), ControlRequest::Received { updates: vec![update('b', "refs/heads/main")] }));
    let out = this.looked(&[("prod", windowed('b', &[], false))]);
    assert!(out.contains(&Response::Stream(Token(1), name("prod"))), "{out:?}");
    // The window closes while the first one still runs.
    this.now = MONDAY_AT_8;
    let out = this.ended(&first, SyncResult::Synced, SyncVerdict::Settled);
    assert!(!out.iter().any(|one| matches!(one, Response::Start(_))), "{out:?}");
    assert!(out.contains(&Response::Reply(Token(1), ControlReply::Done)), "{out:?}");
}

#[test]
fn a_person_gets_through_where_the_window_says_so_and_back_always() {
    let sync = || DaemonEvent::Control(Token(1), ControlRequest::Sync { environment: name("prod"), app: None });
    let mut this = on_monday();
    this.looked(&[("prod", windowed('a', &[], false))]);
    let out = this.on(sync());
    assert!(matches!(&out[..], [Response::Reply(_, ControlReply::Refused { .. })]), "{out:?}");
    let app: AppName = "shop".parse().unwrap();
    let back = ControlRequest::Rollback { environment: name("prod"), app: app.clone() };
    let out = this.on(DaemonEvent::Control(Token(2), back));
    let kind = JobKind::Rollback { commit: commit('a'), app };
    assert!(out.contains(&Response::Start(Job { environment: name("prod"), kind })), "{out:?}");

    let mut this = on_monday();
    assert_eq!(this.looked(&[("prod", windowed('a', &[], true))]), []);
    let out = this.on(sync());
    assert!(out.contains(&Response::Start(job("prod", 'a', SyncCause::Operator))), "{out:?}");

    // Who resumes does not ask for that.
    let mut this = on_monday();
    this.looked(&[("prod", windowed('a', &[], true))]);
    let (by, reason) = ("me".to_owned(), String::new());
    let environment = || name("prod");
    this.on(DaemonEvent::Control(
        Token(1),
        ControlRequest::Suspend { environment: environment(), app: None, by, reason },
    ));
    let out = this.on(DaemonEvent::Control(Token(2), ControlRequest::Resume { environment: environment(), app: None }));
    assert!(!out.iter().any(|one| matches!(one, Response::Start(_))), "{out:?}");
}

#[test]
fn a_repository_out_of_reach_is_told_once_and_what_is_known_stays_in_force() {
    let mut this = Story::started(&["prod"]);
    let look = |fetched: Result<(), String>, digit| {
        DaemonEvent::Looked(Looks { fetched, ..looks_of(&[("prod", automatic(digit))]) })
    };
    let notes = |responses: Vec<Response>| {
        responses.into_iter().filter(|response| matches!(response, Response::Note(_))).count()
    };
    let down = || Err("no route".to_owned());
    let first = job("prod", 'a', SyncCause::Commit);
    let out = this.on(look(down(), 'a'));
    assert!(out.contains(&Response::Start(first.clone())), "what was fetched before is in force: {out:?}");
    assert_eq!(notes(out), 1);
    let (result, verdict) = synced();
    this.ended(&first, result, verdict);
    let since = this.now;
    this.after(POLL * 2);
    let out = this.dispatcher.handle_event(look(down(), 'a'), this.now);
    let told = out.iter().filter(|response| matches!(response, Response::Tell(told) if told.holds.len() == 1)).count();
    assert_eq!(
        (notes(out), told),
        (0, 1),
        "noted once; people are told of the second one, although the commit is good"
    );
    let out = this.on(DaemonEvent::Control(Token(9), ControlRequest::Status));
    let [Response::Reply(_, ControlReply::Status { unfetched, .. })] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*unfetched, Some(Trouble { reason: "no route".to_owned(), since }));
    assert_eq!(this.status("prod").problem, None, "the environment itself is well");
    // Drift is looked at meanwhile, against what was fetched last.
    this.on(DaemonEvent::HostChanged(name("prod")));
    assert_eq!(this.after(SETTLE_MS), [Response::Check(name("prod"), commit('a'))]);
    assert_eq!(notes(this.on(look(Ok(()), 'a'))), 1, "its end is said too");
    assert_eq!(notes(this.on(look(Ok(()), 'a'))), 0, "once");
}

#[test]
fn a_failed_first_look_loses_no_commit_and_is_soon_made_again() {
    let mut this = Story::new(&["prod"]);
    // A former run saw the commit, and ended before it began it.
    let known = Known { seen: Some(commit('a')), ..Known::default() };
    this.on(DaemonEvent::Started([(name("prod"), known)].into()));
    let failed = |reason: &str| Err(LookError { commit: None, reason: reason.to_owned() });
    for failures in 0..4 {
        let out = this.on(DaemonEvent::Looked(Looks {
            fetched: Err("no route".to_owned()),
            ..looks_of(&[("prod", failed("no route"))])
        }));
        assert!(!out.iter().any(|one| matches!(one, Response::Start(_))), "{out:?}");
        let wait = this.dispatcher.deadline().unwrap().since_ms(this.now);
        assert!(wait <= POLL * 11 / 10 && wait <= 5_000 << failures && wait >= 2_500, "{failures}: {wait}");
        assert!(matches!(this.after(wait)[..], [Response::Look(_)]));
    }
    assert_eq!(this.looked(&[("prod", automatic('a'))]), [Response::Start(job("prod", 'a', SyncCause::Resume))]);
}

#[test]
fn what_is_kept_goes_when_its_time_has_come_also_where_drift_is_off() {
    let mut this = Story::started(&["prod"]);
    let mut kept = look('a', SyncMode::Automatic, DriftPolicy::Off);
    if let Ok(look) = &mut kept {
        look.keeps = true;
    }
    let first = job("prod", 'a', SyncCause::Commit);
    assert_eq!(this.looked(&[("prod", kept)]), [Response::Start(first.clone())]);
    assert_eq!(this.ended(&first, SyncResult::Synced, SyncVerdict::Settled), []);
    let check = Response::Check(name("prod"), commit('a'));
    assert_eq!(this.after(SETTLE_MS), std::slice::from_ref(&check), "to learn when");
    let found =
        |kept_long_enough, kept_until| Checked { changes: 0, kept_long_enough, kept_until, blockers: Vec::new() };
    let until = this.now.plus_ms(3_000);
    this.on(DaemonEvent::Checked(name("prod"), Ok(found(0, Some(until)))));
    assert_eq!(this.after(2_999), []);
    assert_eq!(this.after(1), std::slice::from_ref(&check));
    let out = this.on(DaemonEvent::Checked(name("prod"), Ok(found(2, Some(until)))));
    let timer = job("prod", 'a', SyncCause::Timer);
    assert_eq!(out, [Response::Start(timer.clone())]);
    // What cannot go although its time has come does not keep the daemon busy.
    this.ended(&timer, SyncResult::Blocked, SyncVerdict::Settled);
    assert_eq!(this.after(SETTLE_MS), []);
    this.on(DaemonEvent::Checked(name("prod"), Ok(found(0, Some(until)))));
    assert!(this.dispatcher.deadline().is_none_or(|at| at > this.now));
    // Nor does what is not known.
    assert!(this.after(CHECK).contains(&check));
    this.on(DaemonEvent::Checked(name("prod"), Err("no answer".to_owned())));
    assert!(this.dispatcher.deadline().is_none_or(|at| at > this.now));
    assert_eq!(this.status("prod").drift, DriftWord::Unknown, "nobody wants to know of drift");
}

#[test]
fn cap_70_backups_are_looked_after_by_the_clock_and_people_are_told() {
    let mut story = Story::started(&["prod"]);
    let keeps = automatic('a').map(|look| Look { backups: true, ..look });
    let backups =
        |responses: &[Response]| responses.iter().any(|one| *one == Response::Backups(name("prod"), commit('a')));
    assert!(backups(&story.looked(&[("prod", keeps.clone())])), "beside the first sync");
    // One look at a time, however long it takes, and beside a job that runs.
    story.now = story.now.plus_ms(3 * CHECK);
    assert!(!backups(&story.on(DaemonEvent::Tick)));
    let old = holdfast_core::notice::of_drift(&name("prod"), "a", 1, story.now);
    let said = story.dispatcher.handle_event(DaemonEvent::BackedUp(name("prod"), Ok(old.clone())), story.now);
    assert!(said.contains(&Response::Tell(old)) && backups(&said), "{said:?}");
    let said = story.dispatcher.handle_event(DaemonEvent::BackedUp(name("prod"), Err("away".to_owned())), story.now);
    assert!(!said.iter().any(|one| matches!(one, Response::Tell(_))) && !backups(&said), "{said:?}");
    assert!(story.dispatcher.deadline().unwrap() <= story.now.plus_ms(CHECK));
    story.now = story.now.plus_ms(CHECK);
    assert!(backups(&story.on(DaemonEvent::Tick)));

    let mut none = Story::started(&["prod"]);
    assert!(!backups(&none.looked(&[("prod", automatic('a'))])), "where none are declared nobody looks");
}

/// One push is for both: production is tried again when staging has migrated, and not when its back-off has passed.
#[test]
fn cap_57_who_migrates_after_another_begins_when_that_one_has() {
    let mut this = Story::started(&["production", "staging"]);
    let production = automatic('a').map(|look| Look { after: [name("staging")].into(), ..look });
    let out = this.looked(&[("production", production), ("staging", automatic('a'))]);
    assert_eq!(out.len(), 2, "{out:?}");
    let mut early = job("production", 'a', SyncCause::Commit);
    for _ in 0..6 {
        this.ended(&early, SyncResult::Blocked, SyncVerdict::TryAgain);
        early = job("production", 'a', SyncCause::Resume);
        this.after(600_000);
    }
    let blocked = this.ended(&early, SyncResult::Blocked, SyncVerdict::TryAgain);
    assert!(!blocked.contains(&Response::Start(early.clone())), "{blocked:?}");
    let staging = job("staging", 'a', SyncCause::Commit);
    let out = this.ended(&staging, SyncResult::Synced, SyncVerdict::Settled);
    assert!(out.contains(&Response::Start(early)), "{out:?}");
}
