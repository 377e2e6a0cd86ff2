//! What is shipped for the management box: the unit stays closed, the example configuration and the sudoers file stay readable.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_engine::manager::ManagerConfig;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// Returns what a command printed and whether it succeeded; `None`, said loudly, where it is not installed.
fn checked(test: &str, program: &str, arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).arg(file).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED 1 test: {test}: {program}: {error}");
            None
        }
    }
}

#[test]
fn the_unit_exposes_little() {
    let arguments = ["security", "--offline=true", "--threshold=20"];
    let unit = packaging("holdfast.service");
    let Some((fine, said)) = checked("the_unit_exposes_little", "systemd-analyze", &arguments, &unit) else { return };
    assert!(fine, "the exposure is over 2.0:\n{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_example_configuration_is_read_without_a_finding() {
    let path = packaging("manager.yaml");
    let (config, findings) = ManagerConfig::parse("manager.yaml", &std::fs::read(path).unwrap());
    assert!(findings.is_empty(), "{findings:?}");
    let config = config.unwrap();
    let unit = std::fs::read_to_string(packaging("holdfast.service")).unwrap();
    // The folders of the configuration are those that the unit makes, and the keys those that it hands over.
    assert!(unit.contains("StateDirectory=holdfast-manager\n") && config.state_dir.ends_with("holdfast-manager"));
    assert!(unit.contains("RuntimeDirectory=holdfast-manager\n") && config.runtime_dir.ends_with("holdfast-manager"));
    for key in config.age_key_files.iter().chain(&config.ssh.identity) {
        let name = key.strip_prefix("/run/credentials/holdfast.service").unwrap().display().to_string();
        assert!(unit.contains(&format!("\nLoadCredential={name}:")), "{name}");
    }
}

#[test]
fn the_sudoers_file_is_valid() {
    let file = packaging("sudoers.d/holdfast");
    let Some((fine, said)) = checked("the_sudoers_file_is_valid", "visudo", &["-c", "-f"], &file) else { return };
    // visudo also wants root as owner and mode 0440, which a checkout does not have; only what it says of the text counts.
    assert!(fine || said.contains("bad permissions") || said.contains("wrong owner"), "{said}");
}
