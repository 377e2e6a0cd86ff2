use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_core::id::digest_of;
use holdfast_protocol::{Architecture, Digest};

/// The largest file taken for a host program, in bytes. The shipped one has two MiB; a debug build has some tens.
const LARGEST: u64 = 512 * 1024 * 1024;

/// Where packages put host programs.
const PACKAGED: &str = "/usr/lib/holdfast";

/// Their names, one for each architecture.
const NAMES: [&str; 2] = ["holdfast-host-x86_64", "holdfast-host-aarch64"];

/// A host program that can be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProgram {
    /// The file.
    pub path: PathBuf,
    /// Its digest, which is also its name on hosts.
    pub digest: Digest,
    /// What it runs on.
    pub architecture: Architecture,
}

/// The host programs this manager has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPrograms(Vec<HostProgram>);

/// Why a host program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// None is there.
    #[error("no holdfast-host was found (looked for {0}); build it with `cargo build --profile host -p holdfast-host`")]
    Missing(String),
    /// The file cannot be read.
    #[error("the host program {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no program for a known machine.
    #[error("{path} is no Linux program for x86_64 or aarch64", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is another one than when the manager started.
    #[error("{path} has changed since this manager started; restart the manager", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl HostProgram {
    /// Reads a file and computes its digest.
    ///
    /// # Errors
    /// [`ProgramError::Unreadable`] or [`ProgramError::Foreign`].
    pub fn read(path: &Path) -> Result<Self, ProgramError> {
        let bytes = content(path)?;
        let architecture = architecture(&bytes).ok_or_else(|| ProgramError::Foreign { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), digest: digest_of(&bytes), architecture })
    }

    /// Returns the bytes to deliver.
    ///
    /// # Errors
    /// [`ProgramError::Changed`] when they are no longer those of the digest.
    pub fn bytes(&self) -> Result<Vec<u8>, ProgramError> {
        let bytes = content(&self.path)?;
        if digest_of(&bytes) == self.digest {
            Ok(bytes)
        } else {
            Err(ProgramError::Changed { path: self.path.clone() })
        }
    }
}

impl HostPrograms {
    /// Finds the host programs: those named in the manager's configuration, or else `holdfast-host-x86_64` and `-aarch64` in the
    /// folder `beside` the running program and where packages put them, `/usr/lib/holdfast`. The first one of an architecture counts.
    /// A plain `holdfast-host` beside is what `cargo build` leaves there, and counts where no other one is beside.
    ///
    /// # Errors
    /// [`ProgramError`]; one that was named must be usable, one that was not named may be missing.
    pub fn find(named: &[PathBuf], beside: Option<&Path>) -> Result<Self, ProgramError> {
        let usual: Vec<PathBuf> = match beside {
            Some(folder) => {
                let plain = (!NAMES.iter().any(|name| folder.join(name).exists())).then_some("holdfast-host");
                NAMES.into_iter().chain(plain).map(|name| folder.join(name)).chain(packaged()).collect()
            }
            None => packaged().collect(),
        };
        let candidates = if named.is_empty() { &usual[..] } else { named };
        let mut found: Vec<HostProgram> = Vec::new();
        for path in candidates {
            if named.is_empty() && !path.exists() {
                continue;
            }
            let program = HostProgram::read(path)?;
            if found.iter().all(|other| other.architecture != program.architecture) {
                found.push(program);
            }
        }
        if found.is_empty() {
            let looked: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
            return Err(ProgramError::Missing(looked.join(", ")));
        }
        Ok(Self(found))
    }

    /// Returns the program to try first: the manager's own architecture, or the only one there is.
    pub fn first(&self) -> &HostProgram {
        let own = match std::env::consts::ARCH {
            "aarch64" => Architecture::Aarch64,
            _ => Architecture::X86_64,
        };
        self.of(own).unwrap_or(&self.0[0])
    }

    /// Returns the program of an architecture.
    pub fn of(&self, architecture: Architecture) -> Option<&HostProgram> {
        self.0.iter().find(|program| program.architecture == architecture)
    }

    /// Returns whether there is a choice.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

fn packaged() -> impl Iterator<Item = PathBuf> {
    NAMES.iter().map(|name| Path::new(PACKAGED).join(name))
}

fn content(path: &Path) -> Result<Vec<u8>, ProgramError> {
    let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
        return Err(ProgramError::Foreign { path: path.to_owned() });
    }
    fs::read(path).map_err(unreadable)
}

/// Returns the machine an ELF file is for.
///
/// # Source
/// `elf(5)`: 64-bit little-endian class, `e_machine` at offset 18; 62 is x86-64, 183 is AArch64.
fn architecture(bytes: &[u8]) -> Option<Architecture> {
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    match u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]) {
        62 => Some(Architecture::X86_64),
        183 => Some(Architecture::Aarch64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u8, body: &str) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend([machine, 0]);
        bytes.extend(body.as_bytes());
        bytes
    }

    #[test]
    fn finds_one_program_for_each_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = [("a", 62, "1"), ("b", 183, "2"), ("c", 62, "3")]
            .map(|(name, machine, body)| {
                let path = folder.path().join(name);
                fs::write(&path, elf(machine, body)).unwrap();
                path
            })
            .into();
        let programs = HostPrograms::find(&paths, None).unwrap();
        assert!(programs.are_several());
        assert_eq!(programs.of(Architecture::X86_64).unwrap().path, paths[0]);
        assert_eq!(programs.of(Architecture::Aarch64).unwrap().digest, digest_of(&elf(183, "2")));

        fs::write(&paths[0], elf(62, "other")).unwrap();
        assert!(matches!(programs.of(Architecture::X86_64).unwrap().bytes(), Err(ProgramError::Changed { .. })));
    }

    #[test]
    fn a_program_named_after_its_architecture_comes_before_what_cargo_left() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, named) = (folder.path().join("holdfast-host"), folder.path().join("holdfast-host-x86_64"));
        fs::write(&plain, elf(62, "debug")).unwrap();
        let found =
            || HostPrograms::find(&[], Some(folder.path())).unwrap().of(Architecture::X86_64).unwrap().path.clone();
        assert_eq!(found(), plain);
        fs::write(&named, elf(62, "shipped")).unwrap();
        assert_eq!(found(), named);
    }

    #[test]
    fn refuses_a_script_and_names_what_it_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("holdfast-host");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(matches!(HostPrograms::find(&[script], None), Err(ProgramError::Foreign { .. })));
        let missing = HostPrograms::find(&[folder.path().join("no")], None).unwrap_err().to_string();
        assert!(missing.contains("/no cannot be read"), "{missing}");
    }
}
