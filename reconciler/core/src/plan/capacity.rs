//! What may run on a host together, held against what the host has.

use std::collections::BTreeMap;

use super::host::HostContext;
use super::observe::places;
use super::place::Problem;
use crate::desired::{Artifacts, DesiredComponent};

/// Returns the bytes of memory that a component may take: those of its containers and of its units, twice with slots, for both run
/// during a switch. What has no limit counts for nothing.
pub(crate) fn memory_of(component: &DesiredComponent) -> u64 {
    let place = |artifacts: &&Artifacts| {
        let services = artifacts.project.iter().flat_map(|project| project.services.values());
        let containers =
            services.map(|service| service.memory.unwrap_or(0).saturating_mul(u64::from(service.replicas)));
        let units = limits(artifacts).into_values().map(|limits| limits.memory.unwrap_or(0));
        containers.chain(units).fold(0, u64::saturating_add)
    };
    places(&component.body).iter().map(place).fold(0, u64::saturating_add)
}

/// Limits of one unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Limits {
    /// Bytes of memory.
    memory: Option<u64>,
    /// Thousandths of a processor.
    processors: Option<u32>,
}

/// Returns the limits of the units that run at a place.
fn limits(artifacts: &Artifacts) -> BTreeMap<&str, Limits> {
    let own = |unit: &str| {
        let file = artifacts.files.iter().find(|(path, _)| path.rsplit('/').next() == Some(unit));
        let text = file.and_then(|(_, file)| file.content.as_text());
        text.map(|text| unit_limits(&text)).unwrap_or_default()
    };
    artifacts.units.keys().map(|unit| (unit.as_str(), own(unit))).collect()
}

/// # Source
/// systemd.resource-control(5): `MemoryMax=` in bytes, with K, M, G or T to the base of 1024, or `infinity`; `CPUQuota=` in percent
/// of one processor. The last line counts; an empty value takes back those before.
fn unit_limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.trim() {
            "MemoryMax" => limits.memory = bytes(value.trim()),
            "CPUQuota" => {
                let percent = value.trim().strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
                limits.processors = percent.map(|percent| percent.saturating_mul(10));
            }
            _ => {}
        }
    }
    limits
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match &text[digits..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Returns what is more than a host has.
///
/// Memory is held by all together, so its limits are added up: those of this environment, and by the ledger those of the others on the
/// host. Processors are shared by time, so each limit alone has to fit: Docker refuses a container that may take more.
pub(super) fn capacity(context: &HostContext<'_>) -> Vec<Problem> {
    let resources = &context.report.resources;
    let components = || context.desired.apps.values().flat_map(|app| &app.components);
    let own = components().map(memory_of).fold(0, u64::saturating_add);
    let prefix = format!("{}/", context.environment);
    let others = context.ledger.apps.iter().filter(|(key, _)| !key.starts_with(&prefix));
    let others = others.flat_map(|(_, app)| app.components.values()).map(|component| component.memory);
    let others = others.fold(0, u64::saturating_add);
    let mut problems = Vec::new();
    let (total, wanted) = (resources.memory_total, own.saturating_add(others));
    // A host that did not say what it has is not held to it.
    if total > 0 && wanted > total {
        let beside =
            if others == 0 { String::new() } else { format!(", with {} MiB of other environments", others >> 20) };
        let message = format!(
            "the containers and units of {} may take {} MiB of memory here, both slots of what switches counted{beside}, and the host has \
             {} MiB: lower their limits, or give an app another host",
            context.environment,
            wanted >> 20,
            total >> 20
        );
        problems.push(("over-capacity", message));
    }
    if resources.processors > 0 {
        for (what, thousandths) in components().flat_map(processors) {
            if thousandths > resources.processors.saturating_mul(1000) {
                let message = format!(
                    "{what} may take {} processors, and the host has {}: lower its limit, or give it another host",
                    f64::from(thousandths) / 1000.0,
                    resources.processors
                );
                problems.push(("over-capacity", message));
            }
        }
    }
    problems
}

/// Returns the processors that each service and unit of a component may take, in thousandths; those of slots once.
fn processors(component: &DesiredComponent) -> BTreeMap<String, u32> {
    let artifacts = component.body.artifacts(None);
    let services = artifacts.project.iter().flat_map(|project| &project.services);
    let services = services.filter_map(|(name, service)| Some((format!("service {name}"), service.processors?)));
    let units = limits(artifacts).into_iter();
    let units = units.filter_map(|(name, limits)| Some((format!("unit {name}"), limits.processors?)));
    services.chain(units).map(|(what, count)| (format!("{what} of {}", component.name), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_15_limits_of_a_unit_are_read_as_systemd_reads_them() {
        let limits = |text: &str| {
            let Limits { memory, processors } = unit_limits(text);
            (memory, processors)
        };
        assert_eq!(limits("[Service]\nMemoryMax=512M\nCPUQuota=150%\n"), (Some(512 << 20), Some(1500)));
        assert_eq!(limits("MemoryMax=1G\nMemoryMax=infinity\n"), (None, None));
        assert_eq!(limits("#MemoryMax=1G\nMemoryMax = 4096\nCPUQuota=\n"), (Some(4096), None));
    }
}
