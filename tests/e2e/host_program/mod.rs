//! The host program alone, on a real host: compose slots, nginx, the redirect switch, migrations, SIGKILL and power loss at every
//! moment.

mod channel;
mod shop;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_protocol::{Decision, JournalEvent, Outcome, Reply, Request, Slot, SwitchMethod};
use holdfast_testkit::lab::wait_until;

use channel::{Bench, Channel};
use shop::{LISTEN, Release, port, release, spec, unit_spec};

/// What happens on one host.
type Story = fn(&Bench);

const MINUTE: Duration = Duration::from_secs(60);

/// A host as if Holdfast had never been there.
fn fresh(bench: &Bench) -> Channel {
    bench.on_host(
        "iptables -t nat -nL DOCKER >/dev/null 2>&1 || systemctl restart docker; for u in $(systemctl list-units --all --plain --no-legend 'holdfast-*' | cut -d' ' -f1); do systemctl stop $u; systemctl reset-failed $u; done; \
         docker rm -f $(docker ps -aq); docker network prune -f; nft delete table ip holdfast; \
         rm -rf /srv/shop /root/counter /etc/nginx/conf.d/*.conf /etc/systemd/system/holdfast-resume.service; \
         find /var/lib/holdfast -mindepth 1 -maxdepth 1 ! -name bin -exec rm -rf {} +; \
         mkdir -p /root/counter; systemctl daemon-reload; systemctl reset-failed nginx; systemctl restart nginx",
    );
    Channel::open(bench)
}

#[test]
#[ignore = "needs the lab"]
fn cap_36_transactions_end_as_they_should() {
    let benches = Bench::up("hprog", 2);
    let stories: [(&str, Story); 6] = [
        ("power loss", power_loss_ends_unattended),
        ("good and bad releases", blue_then_green_then_a_bad_one_that_never_takes_traffic),
        ("a firewall restart", the_switch_comes_back_after_a_firewall_restart),
        ("no nft", without_nft_a_switch_goes_through_nginx),
        ("a foreign broken file", a_foreign_broken_file_is_named_and_nothing_changes),
        ("units", units_come_up_crash_loops_are_seen_and_odd_keys_refused),
    ];
    // One by one in the order above, by whichever host is free.
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for bench in &benches {
            scope.spawn(|| {
                while let Some((name, story)) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    story(bench);
                    eprintln!("story: {name}: over after {:?}", begun.elapsed());
                }
            });
        }
    });
}

fn blue_then_green_then_a_bad_one_that_never_takes_traffic(bench: &Bench) {
    let mut channel = fresh(bench);
    let v1 = spec(&mut channel, "t1", 1, &release("v1", Slot::Blue, None));
    let (outcome, reason, entries) = channel.run(&v1);
    assert_eq!(outcome, Outcome::Done, "{reason}: {entries:#?}");
    assert!(bench.answers().contains("v1"), "{}", bench.answers());

    let green = Release { migrate: Some("1"), ..release("v2", Slot::Green, Some(Slot::Blue)) };
    let v2 = spec(&mut channel, "t2", 2, &green);
    let started = Instant::now();
    let (outcome, reason, entries) = channel.run(&v2);
    eprintln!("v2: {outcome:?} in {:?}", started.elapsed());
    for entry in &entries {
        eprintln!("  {:?}", entry.event);
    }
    assert_eq!(outcome, Outcome::Done, "{reason}");
    let answer = bench.answers();
    assert!(answer.contains("v2"), "{answer:?}");
    assert_eq!(bench.on_host("cat /root/counter/ran").lines().count(), 1);
    let live = channel.observe();
    assert_eq!(live.switches.seen().unwrap()[LISTEN].to, port(Slot::Green));
    assert_eq!(live.projects["shop-blue"].seen().unwrap().containers[0].state, "exited");
    let ledger = live.ledger.seen().unwrap();
    assert_eq!(ledger.apps["test/shop"].release, "v2");
    assert_eq!(ledger.migrations.len(), 1);
    assert_eq!(bench.on_host("docker ps -aq --filter name=holdfast-migrate"), "");

    let bad = spec(&mut channel, "t3", 3, &release("bad", Slot::Blue, Some(Slot::Green)));
    let (outcome, reason, _) = channel.run(&bad);
    assert_eq!(outcome, Outcome::Abandoned, "{reason}");
    assert!(reason.contains("unhealthy") && reason.contains("503"), "{reason}");
    let answer = bench.answers();
    assert!(answer.contains("v2"), "{answer:?}");
    let live = channel.observe();
    assert_eq!(live.ledger.seen().unwrap().apps["test/shop"].release, "v2");
    assert_eq!(bench.on_host("ls /run/holdfast"), "", "staged copies are gone");

    // A lower fence is refused.
    let late = spec(&mut channel, "t4", 2, &release("v4", Slot::Blue, Some(Slot::Green)));
    assert!(matches!(channel.ask(Request::Stage(Box::new(late))), Reply::Fault(_)));
}

fn the_switch_comes_back_after_a_firewall_restart(bench: &Bench) {
    let mut channel = fresh(bench);
    let v1 = spec(&mut channel, "t1", 1, &release("v1", Slot::Blue, None));
    assert_eq!(channel.run(&v1).0, Outcome::Done);
    bench.on_host("systemctl restart nftables");
    wait_until("the switch is back", MINUTE, || {
        bench.on_host("nft list map ip holdfast switches").contains("8101 : 8102")
    });
    assert!(bench.answers().contains("v1"));
}

fn without_nft_a_switch_goes_through_nginx(bench: &Bench) {
    let mut channel = fresh(bench);
    let v1 = Release { method: SwitchMethod::Reload, ..release("v1", Slot::Blue, None) };
    let v1 = spec(&mut channel, "t1", 1, &v1);
    let (outcome, reason, _) = channel.run(&v1);
    assert_eq!(outcome, Outcome::Done, "{reason}");
    assert!(bench.answers().contains("v1"));
    let v2 = Release { method: SwitchMethod::Reload, ..release("v2", Slot::Green, Some(Slot::Blue)) };
    let v2 = spec(&mut channel, "t2", 2, &v2);
    assert_eq!(channel.run(&v2).0, Outcome::Done);
    let answer = bench.answers();
    assert!(answer.contains("v2"), "{answer:?}");
    assert_eq!(channel.observe().switches.seen().unwrap()[LISTEN].to, port(Slot::Green));
}

fn a_foreign_broken_file_is_named_and_nothing_changes(bench: &Bench) {
    let mut channel = fresh(bench);
    let v1 = spec(&mut channel, "t1", 1, &release("v1", Slot::Blue, None));
    assert_eq!(channel.run(&v1).0, Outcome::Done);
    bench.on_host("echo 'server { listen 80; broken' >/etc/nginx/sites-enabled/other");
    let v2 = spec(&mut channel, "t2", 2, &release("v2", Slot::Green, Some(Slot::Blue)));
    let Reply::Staged(problems) = channel.ask(Request::Stage(Box::new(v2))) else { panic!("staged") };
    bench.on_host("rm /etc/nginx/sites-enabled/other");
    assert!(problems.iter().any(|problem| problem.message.contains("/etc/nginx/sites-enabled/other:")), "{problems:?}");
    assert!(bench.answers().contains("v1"));
}

/// The runner is killed with SIGKILL right after each entry of its journal, one entry per run.
#[test]
#[ignore = "needs the lab"]
fn cap_53_killed_after_every_entry_it_still_ends_and_the_migration_ran_once() {
    let benches = Bench::up("hkill", HOSTS as usize);
    let tried: u64 = thread::scope(|scope| {
        let hosts: Vec<_> =
            benches.iter().zip(0..).map(|(bench, first)| scope.spawn(move || kills(bench, first))).collect();
        hosts.into_iter().map(|host| host.join().expect("no kill does harm")).sum()
    });
    assert!(tried > 20, "only {tried} entries were tried");
}

/// Hosts that share the entries.
const HOSTS: u64 = 2;

/// Kills after the entries that are this host's, until a transaction has no such entry; returns how many there were.
fn kills(bench: &Bench, first: u64) -> u64 {
    let mut channel = fresh(bench);
    let v1 = spec(&mut channel, "t0", 1, &release("v1", Slot::Blue, None));
    assert_eq!(channel.run(&v1).0, Outcome::Done);
    let (mut from, mut to) = (Slot::Blue, Slot::Green);
    let mut tried = 0;
    for entry in (first..).step_by(HOSTS as usize) {
        let id = format!("k{entry}");
        let name = format!("r{entry}");
        let next = Release { migrate: Some("0.3"), ..release(&name, to, Some(from)) };
        let spec = spec(&mut channel, &id, 2 + entry, &next);
        bench.on_host("rm -f /root/counter/ran");
        channel.begin(&spec);
        let decide = Request::Decide { id: spec.id.clone(), fence: spec.fence, decision: Decision::Promote };
        assert_eq!(channel.ask(decide), Reply::Decided);
        let mut killed = false;
        let started = Instant::now();
        let (outcome, reason, entries) = channel.follow(&spec.id, |seen| {
            if seen.seq == entry && !matches!(seen.event, JournalEvent::Ended { .. }) {
                let kill = format!("systemctl kill -s KILL --kill-whom=main holdfast-tx-{id}");
                killed = bench.on_host(&kill).is_empty();
            }
        });
        let resumed = entries.iter().filter(|entry| entry.event == JournalEvent::Resumed).count();
        eprintln!(
            "killed after {entry} ({:?}): {outcome:?} in {:?}, resumed {resumed}, {reason}",
            entries[(entry as usize).min(entries.len() - 1)].event.clone(),
            started.elapsed()
        );
        assert_eq!(outcome, Outcome::Done, "{reason}");
        assert_eq!(bench.on_host("cat /root/counter/ran").lines().count(), 1, "the migration ran once");
        assert!(bench.answers().contains(&name), "{}", bench.answers());
        let live = channel.observe();
        assert_eq!(live.ledger.seen().unwrap().apps["test/shop"].release, name);
        std::mem::swap(&mut from, &mut to);
        if !killed {
            break;
        }
        tried += 1;
    }
    tried
}

/// Power loss at the ready gate, in the migration and in the watch window: nobody comes, and yet it ends.
fn power_loss_ends_unattended(bench: &Bench) {
    let mut channel = fresh(bench);
    let v1 = spec(&mut channel, "t0", 1, &release("v1", Slot::Blue, None));
    assert_eq!(channel.run(&v1).0, Outcome::Done);
    let cases = [("at the ready gate", false), ("migrating", true), ("in the watch window", true)];
    for (number, (case, promote)) in cases.into_iter().enumerate() {
        let (from, to) = (Slot::Blue, Slot::Green);
        let name = format!("p{number}");
        let mut spec = spec(
            &mut channel,
            &name,
            10 + number as u64,
            &Release { migrate: Some("1"), ..release(&name, to, Some(from)) },
        );
        // Long enough to be cut in its middle, and nothing is settled.
        spec.ready_deadline_ms = 3000;
        bench.on_host("rm -f /root/counter/ran");
        channel.begin(&spec);
        if promote {
            let decide = Request::Decide { id: spec.id.clone(), fence: spec.fence, decision: Decision::Promote };
            assert_eq!(channel.ask(decide), Reply::Decided);
        }
        let request = channel.send(Request::Follow { id: spec.id.clone(), from: 0 });
        loop {
            let Reply::Entry(entry) = channel.receive(request) else { panic!("ended before the power loss") };
            let now = match &entry.event {
                JournalEvent::Entered { phase } => format!("{phase:?}") == "Ready" && !promote,
                JournalEvent::Progress { text } => case == "migrating" && text == "migrating",
                JournalEvent::Intent { title, .. } => case == "in the watch window" && title == "watch",
                _ => false,
            };
            if now {
                break;
            }
        }
        bench.power("kill");
        let started = Instant::now();
        bench.power("start");
        wait_until("the host is back", MINUTE, || bench.on_host("true").is_empty());
        channel = Channel::open(bench);
        let (outcome, reason, entries) = channel.follow(&spec.id, |_| ());
        eprintln!("power loss {case}: {outcome:?} {:?} after power on: {reason}", started.elapsed());
        assert!(entries.iter().any(|entry| entry.event == JournalEvent::Resumed));
        assert_eq!(outcome == Outcome::Stuck, reason.contains("look into the database"), "{reason}");
        let ran = bench.on_host("cat /root/counter/ran").lines().count();
        let serving = match (case, outcome) {
            // Cut in its middle, a migration that may not run twice is for an operator; the old release serves.
            ("at the ready gate", Outcome::Abandoned) | ("migrating", Outcome::Stuck) => "v1".to_owned(),
            (_, Outcome::Done) => name,
            other => panic!("{other:?}: {reason}"),
        };
        assert_eq!(ran, 1, "the migration was started once");
        wait_until("the right release answers", MINUTE, || bench.answers().contains(&serving));
        if outcome == Outcome::Done {
            assert_eq!(channel.observe().ledger.seen().unwrap().apps["test/shop"].release, serving);
        }
    }
}

fn units_come_up_crash_loops_are_seen_and_odd_keys_refused(bench: &Bench) {
    let mut channel = fresh(bench);
    bench.on_host(
        "systemctl disable --now shoptest@blue; rm -f /etc/systemd/system/shoptest@.service; systemctl daemon-reload",
    );
    let state = || bench.on_host("systemctl is-active shoptest@blue; systemctl is-enabled shoptest@blue");

    let odd = unit_spec(&mut channel, "u0", 1, "/bin/sleep 1000", "Afer=x\n");
    let Reply::Staged(problems) = channel.ask(Request::Stage(Box::new(odd))) else { panic!("staged") };
    assert!(problems.iter().any(|problem| problem.message.contains("'Afer'")), "{problems:?}");

    // It is active nearly always when it is looked at.
    let loops = unit_spec(&mut channel, "u1", 2, "/bin/sleep 1", "");
    let (outcome, reason, _) = channel.run(&loops);
    assert_eq!(outcome, Outcome::Abandoned, "{reason}");
    assert!(reason.contains("restarted"), "{reason}");
    assert!(
        state().starts_with("inactive") && !bench.on_host("ls /etc/systemd/system").contains("shoptest"),
        "{}",
        state()
    );

    bench.on_host("touch /root/counter/go");
    let good = unit_spec(&mut channel, "u2", 3, "/bin/sleep 1000", "");
    let (outcome, reason, _) = channel.run(&good);
    assert_eq!(outcome, Outcome::Done, "{reason}");
    assert_eq!(state(), "active\nenabled\n");
    assert_eq!(bench.on_host("cat /root/counter/ran").lines().count(), 1);

    // Killed in its migration: it is found again by its name.
    bench.on_host("rm /root/counter/ran /root/counter/go");
    let killed = unit_spec(&mut channel, "u3", 4, "/bin/sleep 1001", "");
    channel.begin(&killed);
    let decide = Request::Decide { id: killed.id.clone(), fence: killed.fence, decision: Decision::Promote };
    assert_eq!(channel.ask(decide), Reply::Decided);
    let (outcome, reason, entries) = channel.follow(&killed.id, |entry| {
        if matches!(&entry.event, JournalEvent::Progress { text } if text == "migrating") {
            bench.on_host("systemctl kill -s KILL --kill-whom=main holdfast-tx-u3; touch /root/counter/go");
        }
    });
    assert_eq!(outcome, Outcome::Done, "{reason}");
    assert!(entries.iter().any(|entry| entry.event == JournalEvent::Resumed));
    assert_eq!(bench.on_host("cat /root/counter/ran").lines().count(), 1);
    bench.on_host(
        "systemctl disable --now shoptest@blue; rm -f /etc/systemd/system/shoptest@.service; systemctl daemon-reload",
    );
}
