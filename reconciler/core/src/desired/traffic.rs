//! How traffic gets from nginx to the replicas of a slot.
//!
//! # Addresses
//! `ports: { api: { blue: 8101-8103, green: 8201-8203 } }` makes three addresses, `127.0.83.1:8101` to `:8103`, and all of them are
//! servers of nginx's upstream, however many replicas there are: where each goes is its switch. With one replica all three go to it, so
//! that a replica more or less is a move of switches, and nginx never reads its configuration anew for it.
//!
//! What stands in green's row, `127.0.83.1:8201` and so on, goes to the slot that does not serve, where a preview asks for it.

use std::collections::BTreeMap;

use super::component::ComponentResolver;
use super::resolve::finding;
use super::{Body, DesiredSwitch, SWITCH_ADDRESS};
use crate::config::{Component, SlotPorts, Strategy, replica_port};
use crate::diag::Diagnostics;
use crate::render::{Content, Edge, Preview, Upstream};

/// Returns the ports that a slot's replicas listen on: of a range as many as there are replicas.
pub(super) fn ports_in_use(component: &Component) -> BTreeMap<String, SlotPorts> {
    let all = &component.ports;
    let names = all.keys().filter(|name| !name.contains('['));
    names.flat_map(|name| row(all, name).into_iter().take(usize::from(component.replicas))).collect()
}

/// Returns the ports of one declared name with the names of each, in their order.
fn row(ports: &BTreeMap<String, SlotPorts>, name: &str) -> Vec<(String, SlotPorts)> {
    (1..)
        .map_while(|number| {
            let name = replica_port(name, number);
            ports.get(&name).map(|ports| (name, *ports))
        })
        .collect()
}

/// Finds a compose file that does not do what `replicas` says: a switch would go to a port that nobody listens on.
pub(super) fn replicas(component: &Component, body: &Body) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::default();
    let count = u32::from(component.replicas);
    for name in component.ports.keys().filter(|name| component.ports.contains_key(&replica_port(name, 2))) {
        let used = row(&component.ports, name);
        let (Some((_, first)), Some((_, last))) = (used.first(), used.get(usize::from(component.replicas) - 1)) else {
            continue;
        };
        let services = body.artifacts(None).project.iter().flat_map(|project| &project.services);
        let mut publishing = services.filter(|(_, service)| service.published.contains(&(first.blue, last.blue)));
        match publishing.next() {
            Some((_, service)) if service.replicas == count => {}
            Some((service, has)) => {
                let message = format!(
                    "`replicas` is {count}, and the service `{service}`, which has the port `{name}`, runs {} times",
                    has.replicas
                );
                let hint = "write `deploy: { replicas: {{ replicas }} }` into the compose file";
                findings.extend(finding("replicas-differ", &component.origin, message, hint));
            }
            None => {
                let wanted = if count == 1 {
                    format!("the port {}", first.blue)
                } else {
                    format!("the ports {}-{}", first.blue, last.blue)
                };
                let message = format!("no service of the compose file has {wanted} of the host, as `{name}` says");
                let hint = format!("write `127.0.0.1:{{{{ ports.{name} }}}}:PORT` into its `ports`");
                findings.extend(finding("replicas-differ", &component.origin, message, hint));
            }
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(()) }
}

impl ComponentResolver<'_> {
    fn sibling(&self, name: &crate::id::ComponentName) -> Option<&Component> {
        self.app.components.iter().find(|component| component.name == *name)
    }

    /// Returns what stands around the text of a site.
    pub(super) fn edge(&self) -> Result<Edge, Diagnostics> {
        let mut findings = Diagnostics::default();
        let mut edge = Edge::default();
        for (name, spec) in &self.component.upstreams {
            let mut refuse =
                |message: String, hint: &str| findings.extend(finding("upstream", &spec.origin, message, hint));
            let Some(target) = self.sibling(&spec.component) else {
                refuse(format!("there is no component `{}` in this app", spec.component), "");
                continue;
            };
            if !target.ports.contains_key(&spec.port) {
                refuse(format!("the component `{}` has no port `{}`", spec.component, spec.port), "");
                continue;
            }
            if !target.hosts.contains(&self.host.name) {
                let message =
                    format!("the component `{}` is not on {}, but this one is", spec.component, self.host.name);
                refuse(message, "give both the same hosts");
                continue;
            }
            if target.strategy == Strategy::Workers {
                let message =
                    format!("the component `{}` has the strategy `workers`, which switches no traffic", spec.component);
                refuse(message, "use `blue_green`");
                continue;
            }
            if name.is_empty() || !name.chars().all(is_of_a_name) {
                refuse(format!("`{name}` is no upstream name: letters, digits, `_`, `.` and `-`"), "");
                continue;
            }
            let address = if target.strategy.has_slots() { SWITCH_ADDRESS } else { "127.0.0.1" };
            let row = row(&target.ports, &spec.port);
            let servers = |port: fn(&SlotPorts) -> u16| -> Vec<String> {
                row.iter().map(|(_, ports)| format!("{address}:{}", port(ports))).collect()
            };
            edge.upstreams.push(Upstream { name: name.clone(), servers: servers(|ports| ports.blue) });
            if let Some(preview) = self.component.preview.as_ref().filter(|preview| preview.upstream == *name) {
                if target.strategy != Strategy::BlueGreen {
                    let message = format!("the component `{}` has no second slot to look at", spec.component);
                    refuse(message, "take `preview` away, or use `blue_green`");
                    continue;
                }
                edge.preview = Some(Preview {
                    host: preview.host.clone(),
                    port: preview.port,
                    allow: preview.allow.clone(),
                    upstream: Upstream { name: format!("{name}_preview"), servers: servers(|ports| ports.green) },
                });
            }
        }
        if findings.has_errors() { Err(findings) } else { Ok(edge) }
    }

    /// Returns a finding for each upstream that the site passes nothing to: its switches would change nothing.
    pub(super) fn unused(&self, site: &Content) -> Diagnostics {
        let mut findings = Diagnostics::default();
        let site = site.shown();
        for (name, spec) in &self.component.upstreams {
            let declared = format!("upstream {name} {{");
            let used = site.lines().map(str::trim).any(|line| {
                !line.starts_with('#') && line != declared && line.split(|c| !is_of_a_name(c)).any(|word| word == name)
            });
            if !used {
                let message =
                    format!("the site passes nothing to the upstream `{name}`: its releases would never serve");
                let hint = format!("write `proxy_pass http://{name};` into the template, or take the upstream out");
                findings.extend(finding("upstream", &spec.origin, message, hint));
            }
        }
        findings
    }

    /// Returns a switch for each port that an nginx component of this host names, and those of previews.
    pub(super) fn switches(&self) -> BTreeMap<String, DesiredSwitch> {
        let mut switches = BTreeMap::new();
        if self.component.strategy != Strategy::BlueGreen {
            return switches;
        }
        let edges = self.app.components.iter().filter(|edge| edge.hosts.contains(&self.host.name));
        for (edge, name, upstream) in
            edges.flat_map(|edge| edge.upstreams.iter().map(move |(name, up)| (edge, name, up)))
        {
            if upstream.component != self.component.name {
                continue;
            }
            let row = row(&self.component.ports, &upstream.port);
            let used = &row[..row.len().min(usize::from(self.component.replicas))];
            // Addresses without a replica of their own share those that are there.
            for ((port, own), (_, to)) in row.iter().zip(used.iter().cycle()) {
                let listen = format!("{SWITCH_ADDRESS}:{}", own.blue);
                switches.insert(listen, DesiredSwitch { port: port.clone(), ports: *to });
                if edge.preview.as_ref().is_some_and(|preview| preview.upstream == *name) {
                    let listen = format!("{SWITCH_ADDRESS}:{}", own.green);
                    let ports = SlotPorts { blue: to.green, green: to.blue };
                    switches.insert(listen, DesiredSwitch { port: format!("{port} preview"), ports });
                }
            }
        }
        switches
    }
}

/// Whether a character is part of an upstream's name.
fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::resolve_tests::{change, config, resolved};
    use super::*;
    use crate::config::{Config, PreviewSpec};
    use crate::desired::DesiredComponent;

    const COMPOSE: &str = "\
services:
  api:
    image: registry.example/nps-api:{{ release }}
    logging: { driver: local }
    ports: [\"127.0.0.1:{{ ports.api }}:8000\"]
    deploy: { replicas: {{ replicas }}, resources: { limits: { memory: 64M } } }
";

    /// A web component with room for three replicas, of which there are so many.
    fn with(replicas: u16, compose: &str) -> Config {
        let mut config = change(config(), |app| {
            let web = app.components.iter_mut().find(|component| component.name.as_str() == "web").unwrap();
            web.replicas = replicas;
            for number in 1..=3 {
                let ports = SlotPorts { blue: 8100 + number, green: 8200 + number };
                web.ports.insert(replica_port("api", number), ports);
            }
            let edge = app.components.iter_mut().find(|component| component.name.as_str() == "edge").unwrap();
            edge.preview = Some(PreviewSpec {
                host: "green.nps.example".to_owned(),
                port: 80,
                allow: vec!["10.0.0.0/8".to_owned()],
                upstream: "nps_api".to_owned(),
            });
        });
        config.templates.insert("templates/compose/web.yaml.j2".to_owned(), compose.to_owned());
        config
    }

    fn component(config: &Config, name: &str) -> DesiredComponent {
        let state = resolved(config).unwrap();
        let app = state.hosts.values().next().unwrap().apps.values().next().unwrap();
        app.components.iter().find(|component| component.name.as_str() == name).unwrap().clone()
    }

    fn site(config: &Config) -> String {
        let edge = component(config, "edge");
        edge.body.artifacts(None).files.values().map(|file| file.content.shown()).collect()
    }

    fn compose_file(config: &Config, slot: holdfast_protocol::Slot) -> String {
        let web = component(config, "web");
        let files = &web.body.artifacts(Some(slot)).files;
        files.iter().find(|(path, _)| path.ends_with("compose.yaml")).unwrap().1.content.shown()
    }

    #[test]
    fn cap_22_replicas_have_a_port_each_and_nginx_never_hears_of_their_number() {
        let (one, three) = (with(1, COMPOSE), with(3, COMPOSE));
        assert_eq!(site(&one), site(&three));
        for server in ["127.0.83.1:8101;", "127.0.83.1:8102;", "127.0.83.1:8103;"] {
            assert!(site(&one).contains(server), "{}", site(&one));
        }
        let ends = |config: &Config| -> Vec<(String, u16, u16)> {
            let switches = component(config, "web").switches.into_iter();
            switches
                .filter(|(_, switch)| !switch.port.ends_with(" preview"))
                .map(|(listen, switch)| (listen, switch.ports.blue, switch.ports.green))
                .collect()
        };
        let listen = |port: u16| format!("127.0.83.1:{port}");
        assert_eq!(ends(&one), [8101, 8102, 8103].map(|port| (listen(port), 8101, 8201)));
        assert_eq!(ends(&three), [8101, 8102, 8103].map(|port| (listen(port), port, port + 100)));
        let (blue, green) = (holdfast_protocol::Slot::Blue, holdfast_protocol::Slot::Green);
        assert!(compose_file(&one, blue).contains("127.0.0.1:8101:8000"), "{}", compose_file(&one, blue));
        assert!(compose_file(&three, green).contains("127.0.0.1:8201-8203:8000"), "{}", compose_file(&three, green));
        let ports: Vec<_> = component(&three, "web").ports.into_keys().collect();
        assert_eq!(ports, ["api", "api[2]", "api[3]"]);
        assert_eq!(component(&one, "web").ports.len(), 1, "what nobody listens on is waited for by nobody");
    }

    #[test]
    fn cap_22_a_compose_file_that_does_not_follow_the_number_is_refused() {
        let codes = |compose: &str| -> BTreeSet<String> {
            let found = resolved(&with(3, compose)).err().unwrap_or_default();
            found.0.into_iter().map(|finding| finding.code).collect()
        };
        assert!(codes(COMPOSE).is_empty());
        let wrong = BTreeSet::from(["replicas-differ".to_owned()]);
        assert_eq!(codes(&COMPOSE.replace("{{ ports.api }}", "{{ port.api }}").replace("{{ replicas }}", "1")), wrong);
        assert_eq!(codes(&COMPOSE.replace("{{ replicas }}", "2")), wrong);
    }

    #[test]
    fn cap_41_a_preview_goes_to_the_slot_that_does_not_serve_and_not_everybody_sees_it() {
        let config = with(2, COMPOSE);
        let site = site(&config);
        let block = site.split("server_name green.nps.example;").nth(1).unwrap();
        let allow = block.find("allow 10.0.0.0/8;").unwrap();
        assert!(allow < block.find("deny all;").unwrap(), "{block}");
        assert!(block.contains("proxy_pass http://nps_api_preview;"), "{block}");
        assert!(site.contains("upstream nps_api_preview {\n    server 127.0.83.1:8201;\n"), "{site}");
        let switches = component(&config, "web").switches;
        for (listen, blue_serves, green_serves) in
            [("127.0.83.1:8201", 8201, 8101), ("127.0.83.1:8202", 8202, 8102), ("127.0.83.1:8203", 8201, 8101)]
        {
            assert_eq!(switches[listen].ports, SlotPorts { blue: blue_serves, green: green_serves }, "{listen}");
        }
    }

    /// Whatever serves, every address of the site goes to a replica that runs, every replica has one, and a preview shows none of them.
    #[test]
    fn cap_22_every_replica_has_traffic_and_no_address_goes_nowhere() {
        for replicas in 1..=3 {
            let web = component(&with(replicas, COMPOSE), "web");
            for slot in [|ports: &SlotPorts| ports.blue, |ports: &SlotPorts| ports.green] {
                let runs: BTreeSet<u16> = web.ports.values().map(slot).collect();
                let (preview, served): (Vec<_>, Vec<_>) =
                    web.switches.values().partition(|switch| switch.port.ends_with(" preview"));
                assert_eq!(served.len(), 3);
                assert_eq!(served.iter().map(|switch| slot(&switch.ports)).collect::<BTreeSet<_>>(), runs);
                assert!(preview.iter().all(|switch| !runs.contains(&slot(&switch.ports))));
            }
        }
    }
}
