//! A plan with nothing to do: with channels kept open, from a cold start, and beside the floor.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::cpu::Meter;
use crate::figures::{Line, Samples};
use crate::fleet::{Fleet, Result};
use crate::floor::Floor;

/// Warm passes for one cold one: they are that much shorter.
const WARM_PASSES: usize = 20;

/// What one thing took and cost.
#[derive(Default)]
struct Row {
    wall: Samples,
    cpu: Vec<(f64, f64)>,
}

impl Row {
    /// Runs something some times.
    fn measure(&mut self, meter: Option<&Meter>, passes: usize, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        let from = meter.and_then(Meter::read);
        for _ in 0..passes {
            let begun = Instant::now();
            work()?;
            self.wall.add(begun.elapsed());
        }
        let cost = meter.zip(from).and_then(|(meter, from)| meter.since(from, passes));
        self.cpu.extend(cost);
        Ok(())
    }

    fn line<'a>(&'a self, what: &'a str) -> Line<'a> {
        let runs = self.cpu.len() as f64;
        let sum = self.cpu.iter().fold((0.0, 0.0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1));
        let cpu = (!self.cpu.is_empty()).then_some((sum.0 / runs, sum.1 / runs));
        Line { what, wall: &self.wall, cpu }
    }
}

/// Measures all of it, round by round, so that what else the machine does meets all alike; prints a table.
pub(crate) fn run(manager: &str, environment: &str, holdfast: &str, state: &str, rounds: &str) -> Result<()> {
    let rounds: usize = rounds.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let programs = Path::new(holdfast).parent().ok_or("holdfast has no folder")?;
    let fleet = runtime.block_on(Fleet::open(Path::new(manager), environment, programs))?;
    let desired = fleet.desired()?;
    let names: Vec<String> = desired.hosts.keys().map(ToString::to_string).collect();
    let lab = Path::new(state).file_name().and_then(|name| name.to_str()).ok_or("the lab's state has no name")?;
    let meter = Meter::new(lab, names.iter().map(String::as_str));
    let meter = meter.as_ref();
    let mut floor = Floor::new(Path::new(state), names.clone())?;

    let pass = || -> Result<()> {
        let live = runtime.block_on(fleet.observe(&desired));
        let plan = fleet.plan(&desired, &live);
        if plan.is_empty() && plan.blockers.is_empty() {
            return Ok(());
        }
        Err(format!("apply the workload first; the plan is not empty: {:?}", plan.blockers).into())
    };
    let cold = || -> Result<()> {
        let mut command = Command::new(holdfast);
        command.args(["--config", manager, "plan", environment, "--detailed-exitcode"]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("holdfast plan: {status}").into()) }
    };
    // First contact is not part of any figure.
    pass()?;
    floor.open()?;
    floor.naive()?;

    let [mut login, mut shared, mut naive, mut cold_plan] = [(); 4].map(|()| Row::default());
    let [mut warm, mut observed, mut planned, mut rendered] = [(); 4].map(|()| Row::default());
    for _ in 0..rounds {
        login.measure(meter, 1, || floor.cold())?;
        cold_plan.measure(meter, 1, cold)?;
        shared.measure(meter, 3, || floor.shared_true())?;
        naive.measure(meter, 3, || floor.naive())?;
        warm.measure(meter, WARM_PASSES, pass)?;
        observed.measure(meter, WARM_PASSES, || {
            drop(runtime.block_on(fleet.observe(&desired)));
            Ok(())
        })?;
        let live = runtime.block_on(fleet.observe(&desired));
        planned.measure(meter, WARM_PASSES, || {
            drop(fleet.plan(&desired, &live));
            Ok(())
        })?;
        rendered.measure(meter, 3, || fleet.desired().map(drop))?;
    }

    let floors = [naive.wall.median(), login.wall.median()];
    println!("\n{} hosts, {rounds} rounds, milliseconds; load average {}", names.len(), load_average());
    println!("| what | runs | median | best–worst | / naive floor | / cold ssh | CPU/host manager | CPU/host host |");
    println!("|---|---|---|---|---|---|---|---|");
    for (what, row) in [
        ("floor: cold `ssh host true`", &login),
        ("`holdfast plan`, cold", &cold_plan),
        ("floor: `true` over an open master", &shared),
        ("floor: sha256sum of 30 files + systemctl show, one exec over an open master (naive)", &naive),
        ("plan, warm: observe + compare", &warm),
        ("of it observe", &observed),
        ("of it compare", &planned),
        ("render of all hosts, once per commit", &rendered),
    ] {
        println!("{}", row.line(what).markdown(&floors));
    }
    Ok(())
}

/// Returns the machine's load average: how much of a figure is other people's work.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
