use std::collections::BTreeMap;
use std::io;

use holdfast_protocol::{Observed, StaticLive, StaticQuery};

use super::layout::Layout;
use super::manifest::{Manifest, walk};
use super::said;

/// Returns how static files stand, by the path of their link.
///
/// No content is read: size and time of each file tell that it is the one that was unpacked.
pub fn look(queries: &[StaticQuery]) -> BTreeMap<String, Observed<StaticLive>> {
    let one = |query: &StaticQuery| stand(query).map_or_else(Observed::Unknown, Observed::Seen);
    queries.iter().map(|query| (query.path.clone(), one(query))).collect()
}

fn stand(query: &StaticQuery) -> Result<StaticLive, String> {
    let layout = Layout::of(&query.path)?;
    let at = layout.at().map_err(|error| said(layout.link(), &error))?;
    let folder = layout.release(&query.release);
    let nothing = |at| StaticLive { at, unpacked: false, changed: Vec::new() };
    let list = layout.manifest(&query.release);
    let Some(manifest) = Manifest::load(&list).map_err(|error| said(&list, &error))? else { return Ok(nothing(at)) };
    match walk(&folder) {
        Ok(seen) => Ok(StaticLive { at, unpacked: true, changed: manifest.differences(&seen) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(nothing(at)),
        Err(error) => Err(said(&folder, &error)),
    }
}
