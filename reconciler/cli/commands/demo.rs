//! `holdfast demo --simulated`: the main story on a simulated fleet. The planner, the rollout, the step machine and the sync are the
//! product's own; only the hosts live in memory. Nothing on this machine is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use age::x25519::Identity;
use holdfast_core::config::{SourceTree, load};
use holdfast_core::desired::{DesiredState, resolve};
use holdfast_core::event::SyncResult;
use holdfast_core::id::{CommitId, EnvironmentName, digest_of};
use holdfast_core::plan::{PlanOptions, Quarantined, plan, status};
use holdfast_core::report::Report;
use holdfast_core::view::{Style, config_diff_text, desired_diff, status_text};
use holdfast_engine::apply::operator;
use holdfast_engine::ports::Ports;
use holdfast_engine::rollback::{RollbackRequest, rollback};
use holdfast_engine::secrets::seal;
use holdfast_engine::sync::{SyncRequest, WindowConsent, observe_desired, sync};
use holdfast_testkit::fake_host::FakeFleet;

use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Progress;
use crate::report;
use crate::setup::show;

macro_rules! example {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("../../../", $path)))),*] };
}

/// The example of the project, as it is when the program is built.
const EXAMPLE: [(&str, &str); 11] = example![
    "holdfast.yaml",
    "inventory/hosts.yaml",
    "environments/prod/environment.yaml",
    "environments/prod/chatbot.yaml",
    "templates/compose/chatbot-data.yaml.j2",
    "templates/compose/chatbot-web.yaml.j2",
    "templates/compose/chatbot-worker.yaml.j2",
    "templates/nginx/chatbot.conf.j2",
    "templates/files/postgres_password.j2",
    "templates/files/database_url.j2",
    "templates/files/secret_key.j2",
];

/// The mark by which the simulated hosts know a release that never gets healthy.
const BROKEN: &str = "    environment:\n      DEMO: \"simulate: unhealthy\"\n";

/// Plays the story.
pub(crate) async fn run(output: Output) -> Result<Exit, Error> {
    output.say("SIMULATED: the hosts of this demo live in memory; `./demo` in the project's repository has real ones.");
    let secrets = secrets()?;
    let state = |release: &str| desired(output, release, &secrets);
    let (v1, v2, v3) = (state("v1")?, state("v2")?, state("v3")?);
    let fleet = FakeFleet::new(v1.hosts.keys());
    let mut held = BTreeSet::new();

    say(output, "v1: the first deploy");
    expect(output, &apply(output, &fleet, &v1, &mut held).await, SyncResult::Synced)?;
    say(output, "What would v2 change?");
    let style = Style { colour: output.color, width: output.width };
    output.data(&config_diff_text(&desired_diff(&v1, &v2), style));
    say(output, "v2: blue to green, one host first, then the others");
    expect(output, &apply(output, &fleet, &v2, &mut held).await, SyncResult::Synced)?;
    say(output, "v3, which never gets healthy: it takes no traffic, and is not tried again");
    expect(output, &apply(output, &fleet, &v3, &mut held).await, SyncResult::RolledBack)?;
    expect(output, &apply(output, &fleet, &v3, &mut held).await, SyncResult::Blocked)?;
    say(output, "One command back: v1");
    let app = "chatbot".parse().or_hint("")?;
    let request = RollbackRequest { desired: v3.clone(), app, to: None, by: String::new(), downgrade: false };
    let report = rollback(&ports(output, &fleet), &request, &mut operator().1).await;
    expect(output, &report, SyncResult::Synced)?;

    let live = observe_desired(&ports(output, &fleet), &v3).await;
    let options = PlanOptions {
        observed_at: report.ended_at,
        quarantined: &held,
        migrated: &BTreeSet::new(),
        allow_prune: true,
        adopt: false,
    };
    output.data(&status_text(&status(&v3, &live, &plan(&v3, &live, &options)), output.color));
    output.say("\nThat was SIMULATED.");
    Ok(Exit::Ok)
}

fn say(output: Output, text: &str) {
    let (bold, plain) = if output.color_err { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    output.say(&format!("\n{bold}▌ {text}{plain}"));
}

fn ports(output: Output, fleet: &FakeFleet) -> Ports {
    Ports { events: Arc::new(Progress::new(output, false)), ..fleet.ports() }
}

async fn apply(output: Output, fleet: &FakeFleet, desired: &DesiredState, held: &mut BTreeSet<Quarantined>) -> Report {
    let request = SyncRequest {
        checks: Vec::new(),
        windows: WindowConsent::None,
        begun: BTreeSet::new(),
        desired: desired.clone(),
        cause: "commit".to_owned(),
        by: String::new(),
        expected: None,
        quarantined: held.clone(),
        migrated: BTreeSet::new(),
        allow_prune: false,
        adopt: false,
        only: None,
        paused: BTreeMap::new(),
        approving: None,
    };
    let report = sync(&ports(output, fleet), &request, &mut operator().1).await;
    for (app, said) in &report.apps {
        if let Ok(content) = said.quarantined_content.parse() {
            held.insert(Quarantined { app: app.clone(), content, reason: said.quarantined.clone() });
        }
    }
    report
}

fn expect(output: Output, said: &Report, wanted: SyncResult) -> Result<(), Error> {
    report::print(output, said, false)?;
    if said.result == Some(wanted) {
        return Ok(());
    }
    Err(Error::internal(format!("the story went wrong: {:?} where {wanted:?} was to come", said.result)))
}

/// Returns the example's secrets, encrypted for a key that nobody keeps: a plan needs none, and simulated hosts get stand-ins.
fn secrets() -> Result<String, Error> {
    let plain = "database: { password: example }\napp: { secret_key: example }\n";
    seal(plain, &[Identity::generate().to_public()], "2026-01-01T00:00:00Z", None).or_hint("")
}

fn desired(output: Output, release: &str, secrets: &str) -> Result<DesiredState, Error> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, text) in EXAMPLE {
        let mut text = text.replace("\nrelease: v1\n", &format!("\nrelease: {release}\n"));
        if release == "v3" && path.ends_with("chatbot-web.yaml.j2") {
            text = text.replace("    environment:\n", BROKEN);
        }
        files.insert(path.to_owned(), text.into_bytes());
    }
    files.insert("environments/prod/secrets.sops.yaml".to_owned(), secrets.as_bytes().to_vec());
    let (config, findings) = load(&SourceTree { files, problems: Vec::new() });
    show(output, &findings);
    let config = config.ok_or_else(|| Error::printed(Exit::Failed))?;
    let environment: EnvironmentName = "prod".parse().or_hint("")?;
    let commit: CommitId = digest_of(release.as_bytes()).to_string()[..40].parse().or_hint("")?;
    resolve(&config, &environment, &commit).map_err(|findings| {
        show(output, &findings);
        Error::printed(Exit::Failed)
    })
}
