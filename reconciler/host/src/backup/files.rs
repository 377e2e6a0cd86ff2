//! Folders of the host, packed by tar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use holdfast_protocol::BackupSource;

use super::class::Class;
use super::{BackupError, at, containers, fail};
use crate::exec::Call;

/// Keeps owners by number, for a container's accounts are not the host's.
const NUMBERS: &str = "--numeric-owner";

fn tar<'a>(class: &Class, args: impl IntoIterator<Item = &'a str>) -> Result<Call, BackupError> {
    Ok(Call::new(class.program("tar")?, args).deadline(class.timeout()).keep_tail())
}

/// Returns the folders that a class saves: its own, or those of its volumes.
///
/// # Source
/// Compose names a volume `<project>_<name>` and labels it with both; where the file gives it another name the labels still say it.
pub(super) fn folders(class: &Class) -> Result<Vec<String>, BackupError> {
    let (project, volumes) = match &class.spec.source {
        BackupSource::Files { paths } => return Ok(paths.clone()),
        BackupSource::Volumes { project, volumes, .. } => (project, volumes),
        BackupSource::Postgres { .. } | BackupSource::Redis { .. } => return fail("this class saves no folders"),
    };
    let mut folders = Vec::new();
    for volume in volumes {
        folders.push(mountpoint(class, project, volume)?.1);
    }
    Ok(folders)
}

/// Returns the running containers that have a class's volumes open.
pub(super) fn holders(class: &Class) -> Result<Vec<String>, BackupError> {
    let BackupSource::Volumes { project, volumes, .. } = &class.spec.source else { return Ok(Vec::new()) };
    let mut holders = Vec::new();
    for volume in volumes {
        let (name, _) = mountpoint(class, project, volume)?;
        holders.extend(containers::listed(class, &[&format!("volume={name}"), "status=running"])?);
    }
    holders.sort();
    holders.dedup();
    Ok(holders)
}

/// Returns a volume's name and the folder it is on the host.
fn mountpoint(class: &Class, project: &str, volume: &str) -> Result<(String, String), BackupError> {
    let (of, called) =
        (format!("label=com.docker.compose.project={project}"), format!("label=com.docker.compose.volume={volume}"));
    let found = containers::docker(class, &["volume", "ls", "--quiet", "--filter", &of, "--filter", &called])?.text();
    let [name] = found.split_whitespace().collect::<Vec<_>>()[..] else {
        return fail(format!("`{project}` has no volume `{volume}` on this host"));
    };
    let path = containers::docker(class, &["volume", "inspect", "--format", "{{.Mountpoint}}", name])?.text();
    let path = path.trim();
    // One of another driver, or of options, is mounted only while somebody uses it.
    if !path.starts_with('/') || !Path::new(path).is_dir() {
        return fail(format!("the volume {name} is no folder of this host"));
    }
    Ok((name.to_owned(), path.to_owned()))
}

/// Packs the volumes of a class.
pub(super) fn pack_volumes(class: &Class, pause: bool, into: File) -> Result<(), BackupError> {
    let folders = folders(class)?;
    let holders = if pause { holders(class)? } else { Vec::new() };
    containers::still(class, &holders, || pack(class, &folders, into))
}

/// Packs folders.
pub(super) fn pack(class: &Class, paths: &[String], into: File) -> Result<(), BackupError> {
    for path in paths {
        // Of a link tar would save the link.
        let meta = fs::symlink_metadata(path).map_err(at(Path::new(path)))?;
        if !meta.is_dir() {
            return fail(format!("{path} is no folder: name the folder itself"));
        }
    }
    let mut args = vec!["--create", "--gzip", "--file=-", NUMBERS, "--directory=/", "--"];
    args.extend(paths.iter().map(|path| path.trim_start_matches('/')));
    // Exit status 1 means that a file changed while it was read: half of each is no backup.
    tar(class, args)?.stdout_file(into).run()?;
    Ok(())
}

/// Reads an archive to its end, and returns the entries below each folder, the folder included.
pub(super) fn count(class: &Class, paths: &[String], archive: File) -> Result<BTreeMap<String, u64>, BackupError> {
    let prefixes: Vec<String> = paths.iter().map(|path| format!("{}/", path.trim_start_matches('/'))).collect();
    let call = tar(class, ["--list", "--gzip", "--file=-", "--quoting-style=escape"])?.stdin_file(archive);
    let (output, counts) = call.read_by(move |mut pipe| {
        let mut counts = vec![0_u64; prefixes.len()];
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            for byte in &buffer[..count] {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                for (prefix, count) in prefixes.iter().zip(&mut counts) {
                    *count += u64::from(line.starts_with(prefix.as_bytes()));
                }
                line.clear();
            }
        }
        counts
    })?;
    if output.code != 0 {
        return fail(format!("the archive cannot be read: tar exited with {}: {}", output.code, output.told()));
    }
    for (path, count) in paths.iter().zip(&counts) {
        if *count == 0 {
            return fail(format!("{path} is not in the archive"));
        }
    }
    Ok(paths.iter().cloned().zip(counts).collect())
}

/// Unpacks one folder of an archive below another folder, and counts what came.
pub(super) fn unpack(class: &Class, archive: File, path: &str, into: &Path, wanted: u64) -> Result<u64, BackupError> {
    let directory = format!("--directory={}", into.display());
    let member = path.trim_start_matches('/');
    let args = ["--extract", "--gzip", "--file=-", NUMBERS, "--same-permissions", &directory, "--", member];
    tar(class, args)?.stdin_file(archive).deadline(class.timeout() * 4).run()?;
    let found = entries(&into.join(member))?;
    if found != wanted {
        return fail(format!("{path} has {found} entries after the restore, and the backup has {wanted}"));
    }
    Ok(found)
}

/// Counts what is below a folder, the folder included.
fn entries(folder: &Path) -> Result<u64, BackupError> {
    let mut open = vec![folder.to_owned()];
    let mut count = 1;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            count += 1;
            if entry.file_type().map_err(at(&folder))?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(count)
}
