//! The working example of this repository, from its files to hosts that serve it, and a promotion of it.

use holdfast_core::config::{SealedValue, load};
use holdfast_core::desired::resolve;
use holdfast_core::diag::Origin;
use holdfast_core::secret::SecretRef;
use holdfast_core::view::{OutputKind, output_schema};
use holdfast_testkit::json_schema::faults;

use super::*;

/// Returns what the example wants, with its chatbot's release replaced.
fn example(release: &str) -> DesiredState {
    let mut tree = holdfast_testkit::example::example();
    for content in tree.files.values_mut() {
        let text = String::from_utf8(std::mem::take(content)).unwrap();
        let lines = text.lines().map(|line| match line.strip_prefix("release:") {
            Some(_) => format!("release: {release}\n"),
            None => format!("{line}\n"),
        });
        *content = lines.collect::<String>().into_bytes();
    }
    let (config, findings) = load(&tree);
    let mut config = config.unwrap_or_else(|| panic!("{findings:?}"));
    // The example has no encrypted file: its keys are everyone's own.
    let secret = |name: &str| SealedValue {
        secret: SecretRef {
            file: "environments/prod/secrets.sops.yaml".to_owned(),
            path: name.split('.').map(str::to_owned).collect(),
            fingerprint: "0123456789abcdef".to_owned(),
        },
        generator: None,
        protected: false,
        origin: Origin::default(),
    };
    let secrets = ["database.password", "app.secret_key"].map(|name| (name.to_owned(), secret(name)));
    config.environments.values_mut().for_each(|environment| environment.secrets.extend(secrets.clone()));
    let commit = holdfast_core::id::digest_of(release.as_bytes()).to_string();
    resolve(&config, &"prod".parse().unwrap(), &commit.parse().unwrap()).unwrap_or_else(|found| panic!("{found:?}"))
}

#[tokio::test(start_paused = true)]
async fn the_example_is_applied_promoted_and_taken_away() {
    let first = example("v1.0.0");
    let names: Vec<_> = first.hosts.keys().cloned().collect();
    let fleet = FakeFleet::new(&names);
    for release in ["v1.0.0", "v1.1.0", "v1.2.0"] {
        let desired = example(release);
        let report = sync(&fleet.ports(), &request(desired.clone()), &mut silent()).await;
        assert_result(&report, SyncResult::Synced);
        assert_eq!(left_to_do(&fleet, &desired).await, Vec::<String>::new());
        assert_sound(&fleet);
    }
    let mut nothing = example("v1.2.0");
    nothing.hosts.values_mut().for_each(|host| host.apps.clear());
    assert_result(&sync(&fleet.ports(), &request(nothing), &mut silent()).await, SyncResult::Synced);
    for (name, host) in fleet.hosts() {
        let world = host.world();
        assert!(world.files.is_empty() && world.projects.is_empty() && world.switches.is_empty(), "{name}: {world:#?}");
    }
}

/// What `apply --json` prints is what its published schemas describe.
#[tokio::test(start_paused = true)]
async fn events_and_reports_are_as_their_schemas_say() {
    let first = example("v1.0.0");
    let names: Vec<_> = first.hosts.keys().cloned().collect();
    let fleet = FakeFleet::new(&names);
    let mut broken = example("v1.1.0");
    for app in broken.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        for component in &mut app.components {
            if let holdfast_core::desired::Body::Slots { blue, green } = &mut component.body {
                for file in blue.files.values_mut().chain(green.files.values_mut()) {
                    file.content.parts.push(holdfast_core::render::Part::Plain("# simulate: unhealthy\n".to_owned()));
                }
            }
        }
    }
    for (desired, result) in [(first, SyncResult::Synced), (broken, SyncResult::RolledBack)] {
        let report = sync(&fleet.ports(), &request(desired), &mut silent()).await;
        assert_result(&report, result);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(faults(&output_schema(OutputKind::Report), &value), [""; 0]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Report>(&text).unwrap()).unwrap(), text);
    }
    let schema = output_schema(OutputKind::Event);
    let mut seen = BTreeSet::new();
    for event in fleet.events() {
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(faults(&schema, &value), [""; 0], "{value}");
        seen.extend(value["kind"].as_object().unwrap().keys().cloned());
    }
    assert!(seen.len() >= 8, "{seen:?}");
}
