//! What a service asks of other services and of its host.

use super::service::{ComposeService, Logging, Published, Stated, bytes, range};
use super::yaml::Node;
use super::{File, Kind};
use crate::config::closest;

impl File<'_, '_, '_> {
    /// Refuses a dependency that the file does not have: Compose would refuse it on the host.
    pub(super) fn depends_on(&mut self, name: &str, node: &Node) {
        let wanted = node.items().iter().chain(node.entries().iter().map(|(key, _)| key));
        for item in wanted {
            let Some(other) = self.text(item).filter(|other| !self.names.contains(other)) else { continue };
            let message = format!("`{name}` depends on `{other}`, which is no service of this file");
            let known = self.names.iter().map(String::as_str);
            let hint = match closest(&other, known.clone()) {
                Some(meant) => {
                    format!(
                        "did you mean `{meant}`? A service of another component needs no `depends_on`: components come up in their order"
                    )
                }
                None => format!("services: {}", known.collect::<Vec<_>>().join(", ")),
            };
            self.error("compose-depends-on", item, message, &hint);
        }
    }

    /// Returns what a service is, after refusing what its host cannot give it.
    pub(super) fn demands(&mut self, name: &str, key: &Node, service: &Node, image: Stated<String>) -> ComposeService {
        let deploy = service.get("deploy");
        let replicas = deploy.and_then(|deploy| deploy.get("replicas")).or_else(|| service.get("scale"));
        let count = replicas.and_then(|node| self.text(node)).and_then(|text| text.parse().ok()).unwrap_or(1);
        let replicas = Stated { value: count, at: self.at(replicas.unwrap_or(key)) };
        let memory = deploy
            .and_then(|deploy| deploy.get("resources")?.get("limits")?.get("memory"))
            .or_else(|| service.get("mem_limit"))
            .and_then(|node| bytes(&self.text(node)?));
        let processors = deploy
            .and_then(|deploy| deploy.get("resources")?.get("limits")?.get("cpus"))
            .or_else(|| service.get("cpus"))
            .and_then(|node| self.text(node)?.trim().parse::<f64>().ok())
            .filter(|cpus| (0.0..=100_000.0).contains(cpus))
            .map(|cpus| (cpus * 1000.0).round() as u32);
        let published: Vec<_> =
            service.get("ports").into_iter().flat_map(Node::items).filter_map(|node| self.published(node)).collect();
        if count > 1 {
            let fixed = published.iter().find_map(|port| port.value.ports.filter(|(first, last)| first == last));
            let short = published.iter().find_map(|port| {
                port.value.ports.filter(|(first, last)| u32::from(last.saturating_sub(*first)) + 1 < count)
            });
            let thing = match (fixed, short) {
                (Some((port, _)), _) => Some(format!("port {port} of the host")),
                (None, Some((first, last))) => Some(format!("a port of {first}-{last}")),
                (None, None) => service.get("container_name").map(|_| "one container name".to_owned()),
            };
            if let Some(thing) = thing {
                let at = replicas.at.clone();
                let message = format!("{count} replicas of `{name}` cannot all have {thing}");
                let hint = "let the others reach it by its service name, inside of the project";
                self.findings.error("compose-replicas", &at, message, hint);
            }
        }
        let shm = service.get("shm_size").and_then(|node| bytes(&self.text(node)?));
        let command = service.get("command").map(|node| self.command(node)).unwrap_or_default();
        let environment = service.get("environment").map(|node| self.settings(node)).unwrap_or_default();
        let logging = self.logging(key, service.get("logging"));
        ComposeService {
            digest: String::new(),
            image,
            replicas,
            memory,
            processors,
            shm,
            command,
            published,
            environment,
            logging,
        }
    }

    /// Returns where what a service prints goes.
    fn logging(&self, service: &Node, node: Option<&Node>) -> Stated<Logging> {
        let Some(node) = node else { return Stated { value: Logging::default(), at: self.at(service) } };
        let driver = node.get("driver").and_then(|driver| self.text(driver)).filter(|driver| !driver.is_empty());
        let options = node.get("options").map(|options| self.settings(options)).unwrap_or_default();
        Stated { value: Logging { driver, options }, at: self.at(node) }
    }

    /// Returns a published port. One without an address would be open to everybody, past the host's firewall.
    fn published(&mut self, node: &Node) -> Option<Stated<Published>> {
        let value = match &node.kind {
            Kind::Map { .. } => {
                let text = |key: &str| node.get(key).and_then(|value| self.text(value));
                let (host, target) = (text("published").unwrap_or_default(), text("target").unwrap_or_default());
                Published {
                    text: if host.is_empty() { target } else { format!("{host}:{target}") },
                    address: text("host_ip"),
                    ports: range(&host),
                    tcp: text("protocol").is_none_or(|protocol| protocol == "tcp"),
                }
            }
            Kind::Scalar { .. } | Kind::List { .. } => Published::parse(&self.text(node)?)?,
        };
        if value.address.as_ref().is_none_or(String::is_empty) {
            let text = &value.text;
            let pair = if text.contains(':') { text.clone() } else { format!(":{text}") };
            let message = format!("the port `{text}` is published on every address of the host, past its firewall");
            let hint = format!("write `127.0.0.1:{pair}`, or `0.0.0.0:{pair}` where everybody is to reach it");
            self.error("compose-exposed", node, message, &hint);
        }
        Some(Stated { value, at: self.at(node) })
    }

    /// Returns the words of a `command`: a list, or a text that is split at blanks, as long as nobody quotes in it.
    fn command(&self, node: &Node) -> Vec<Stated<String>> {
        let word = |node: &Node| self.text(node).map(|value| Stated { value, at: self.at(node) });
        if let Kind::List { items, .. } = &node.kind {
            return items.iter().filter_map(word).collect();
        }
        let Some(Stated { value, at }) = word(node).filter(|text| !text.value.contains(['"', '\''])) else {
            return Vec::new();
        };
        value.split_whitespace().map(|word| Stated { value: word.to_owned(), at: at.clone() }).collect()
    }

    /// Returns the entries of an `environment`.
    fn settings(&self, node: &Node) -> Vec<Stated<(String, String)>> {
        let entries = node
            .entries()
            .iter()
            .filter_map(|(key, value)| Some(Stated { value: (self.text(key)?, self.text(value)?), at: self.at(key) }));
        let items = node.items().iter().filter_map(|item| {
            let (name, value) = self.text(item)?.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            Some(Stated { value: (name, value), at: self.at(item) })
        });
        entries.chain(items).collect()
    }
}
