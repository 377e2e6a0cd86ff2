//! Puts a host in order after a boot: switches first, then every transaction that was begun and is not over.

use holdfast_protocol::Fault;

use super::folder::{Folder, failed};
use super::host::Host;
use super::{begin, status, switches};

/// Puts the switches back and starts the runner of every transaction that was begun and is not over.
///
/// # Errors
/// The first failure, after all was tried.
pub fn resume(host: &Host) -> Result<(), Fault> {
    let mut first = switches::restore(host).err().map(|error| failed(format!("put the switches back: {error}")));
    for folder in Folder::all(&host.root).map_err(|error| failed(format!("list the transactions: {error}")))? {
        if folder.begun().is_some()
            && status::outcome(&folder).is_none()
            && let Err(fault) = begin::start(&folder, true)
        {
            first.get_or_insert(fault);
        }
    }
    first.map_or(Ok(()), Err)
}
