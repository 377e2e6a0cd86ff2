//! Looks at the head-room of a host.

use std::fs;
use std::path::Path;

use holdfast_protocol::Resources;

use crate::paths::{Root, System};

/// Returns the head-room. What cannot be found out counts as none, so that nothing is started on it.
pub(super) fn look(root: &Root, system: &System) -> Resources {
    let memory = fs::read_to_string(system.proc.join("meminfo")).unwrap_or_default();
    // Before the first apply the root is not there yet; it will be on the file system of the nearest folder above it.
    let folder = root.path().ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let (disk_free, inodes_free) = rustix::fs::statvfs(folder).map_or((0, 0), |stat| {
        // Some file systems make inodes as they need them and count none.
        let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_ffree };
        (stat.f_bfree.saturating_mul(stat.f_frsize), inodes)
    });
    Resources {
        disk_free,
        inodes_free,
        memory_available: field(&memory, "MemAvailable"),
        memory_total: field(&memory, "MemTotal"),
        processors: processors(&fs::read_to_string(system.proc.join("cpuinfo")).unwrap_or_default()),
    }
}

/// # Source
/// proc_cpuinfo(5): a paragraph for each processor that is online; on 64-bit Arm and x86 it begins with `processor`.
fn processors(text: &str) -> u32 {
    text.lines().filter(|line| line.split(':').next().is_some_and(|name| name.trim() == "processor")).count() as u32
}

/// # Source
/// proc_meminfo(5): `Name:   123 kB`, where kB means 1024 bytes.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_bytes() {
        let text = "MemTotal:       24629044 kB\nMemFree:  1 kB\nMemAvailable:   23 kB\nMemAvailableOdd: 9 kB\n";
        assert_eq!(field(text, "MemTotal"), 24_629_044 * 1024);
        assert_eq!(field(text, "MemAvailable"), 23 * 1024);
        assert_eq!(field(text, "Missing"), 0);
        assert_eq!(processors("processor\t: 0\nmodel name : x\n\nprocessor\t: 1\n"), 2);
    }

    #[test]
    fn a_real_host_has_some_of_each_also_before_the_root_is_made() {
        let resources = look(&Root::new("/tmp/no/such/folder"), &System::real());
        assert!(resources.disk_free > 0 && resources.inodes_free > 0 && resources.memory_available > 0);
        assert!(resources.memory_total >= resources.memory_available);
    }
}
