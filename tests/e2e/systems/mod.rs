//! The five systems as this repository ships them: the definitions of `inventory`, `environments` and `templates`, with nothing
//! replaced but the hosts' addresses and, by variables of the inventory, the images.

mod shia;

use std::fs;
use std::path::Path;

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;

/// A clone of the shipped definitions for a lab.
struct Shipped {
    ops: Ops,
}

impl Shipped {
    /// Takes the environments that are named, for the hosts of the lab: each lab host has the name of one of the inventory's.
    /// `variables` are those of every host, one a line, as YAML.
    fn new(lab: &Lab, environments: &[&str], variables: &[&str]) -> Self {
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), lab);
        ops.take_definitions(environments);
        let mut inventory = String::from("hosts:\n");
        for host in &lab.hosts {
            let (name, address, key) = (host.name.trim_end_matches('1'), &host.address, &host.host_key);
            let entry = format!("  {name}:\n    address: {address}\n    host_key: {key}\n    variables:\n");
            inventory.push_str(&entry);
            for line in variables {
                inventory.extend(["      ", line, "\n"]);
            }
        }
        ops.write("inventory/hosts.yaml", &inventory);
        let manager = fs::read_to_string(&ops.config).unwrap();
        let sources: String = environments.iter().map(|name| format!("  {name}: {{ branch: main }}\n")).collect();
        fs::write(&ops.config, manager.replace("  prod: { branch: main }\n", &sources)).unwrap();
        Self { ops }
    }

    /// Replaces text of a file of the clone, which must have it.
    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.ops.work.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        self.ops.write(path, &text.replace(from, to));
    }

    fn assert_plan_is_empty(&self, environment: &str) {
        let plan = self.ops.run_any(&["plan", environment, "--detailed-exitcode"]);
        assert_eq!(plan.status.code(), Some(0), "a second plan of {environment} is empty");
    }
}
