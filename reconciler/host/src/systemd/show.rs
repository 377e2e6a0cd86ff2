//! Reads the state of units from one run of `systemctl show`, for hosts where no bus answers.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::{Observed, UnitLive};

use crate::exec::Call;
use crate::paths::System;

const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,UnitFileState,NRestarts,NeedDaemonReload,MainPID";

/// Returns the state of each unit.
///
/// # Errors
/// When `systemctl` is missing, fails, takes too long, or prints something else than one block for each unit.
pub(super) fn states(
    system: &System,
    names: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Observed<UnitLive>>, String> {
    let program = system.program("systemctl").ok_or("`systemctl` is not installed")?;
    let args = ["show", "--no-pager", PROPERTIES, "--"].iter().chain(names).copied();
    let output = Call::new(program, args).deadline(timeout).run().map_err(|error| error.to_string())?;
    parse(names, &String::from_utf8_lossy(&output.stdout))
}

/// # Source
/// systemctl(1), `show`: `Name=value` lines, one block for each unit in the order of the names, blocks apart by an empty line.
fn parse(names: &[&str], text: &str) -> Result<BTreeMap<String, Observed<UnitLive>>, String> {
    let blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
    if blocks.len() != names.len() {
        return Err(format!("`systemctl show` gave {} blocks for {} units", blocks.len(), names.len()));
    }
    Ok(names.iter().zip(blocks).map(|(name, block)| ((*name).to_owned(), parse_block(block))).collect())
}

fn parse_block(block: &str) -> Observed<UnitLive> {
    let fields: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let text = |name: &str| fields.get(name).map_or_else(String::new, |value| (*value).to_owned());
    let (load, active) = (text("LoadState"), text("ActiveState"));
    if load.is_empty() || active.is_empty() {
        return Observed::Unknown("`systemctl show` did not tell its state".to_owned());
    }
    if load == "not-found" && active == "inactive" {
        return Observed::Absent;
    }
    Observed::Seen(UnitLive {
        load,
        active,
        sub: text("SubState"),
        enabled: text("UnitFileState"),
        restarts: text("NRestarts").parse().unwrap_or(0),
        needs_reload: text("NeedDaemonReload") == "yes",
        drop_ins: Vec::new(),
        main_pid: text("MainPID").parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_for_each_unit() {
        let text = "Id=x\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=3\n\
                    NeedDaemonReload=yes\nMainPID=77\n\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\nOdd=1\n";
        let states = parse(&["a.service", "b.service", "c.timer"], text).unwrap();
        let a = states["a.service"].seen().unwrap();
        assert_eq!(
            (a.sub.as_str(), a.enabled.as_str(), a.restarts, a.needs_reload, a.main_pid),
            ("running", "enabled", 3, true, 77)
        );
        assert_eq!(states["b.service"], Observed::Absent);
        assert!(matches!(states["c.timer"], Observed::Unknown(_)));
    }

    #[test]
    fn another_number_of_blocks_is_an_error() {
        assert!(parse(&["a.service", "b.service"], "LoadState=loaded\n").is_err());
    }
}
