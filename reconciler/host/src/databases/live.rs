//! Looks at how servers stand against their declarations.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use holdfast_protocol::{DatabasesLive, Observed};

use super::catalog::{cluster, contents};
use super::server::Server;
use super::{DatabasesError, load, roles};

/// How long one question may take: an observation waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns how the databases of these declarations stand.
pub fn look(declarations: &[String]) -> BTreeMap<String, Observed<DatabasesLive>> {
    let one = |path: &String| match stand(Path::new(path)) {
        Ok(Some(live)) => Observed::Seen(live),
        Ok(None) | Err(DatabasesError::Down(_)) => Observed::Absent,
        Err(error) => Observed::Unknown(error.to_string()),
    };
    declarations.iter().map(|path| (path.clone(), one(path))).collect()
}

fn stand(declaration: &Path) -> Result<Option<DatabasesLive>, DatabasesError> {
    let Some(spec) = load(declaration)? else { return Ok(None) };
    let server = Server::find(&spec, DEADLINE)?;
    let live = cluster(&server)?;
    // No salt is needed to see what differs.
    let (over, found): (Vec<_>, Vec<_>) =
        roles::roles(&spec, &live, &mut || Ok([0; 16]))?.into_iter().partition(|difference| difference.over);
    let mut differences: Vec<String> = found.into_iter().map(|difference| difference.what).collect();
    let mut seeds = Vec::new();
    for (database, wanted) in &spec.databases {
        let unknown = wanted.grants.keys().chain([&wanted.owner]).any(|role| live.role(role).is_none());
        match live.databases.get(database) {
            None => differences.push(format!("database {database} is missing")),
            Some(owner) if *owner != wanted.owner => {
                differences.push(format!("database {database} belongs to {owner}"));
            }
            // A role that is missing is told above, and cannot be asked about.
            Some(_) if unknown => {}
            Some(_) => {
                let inside = contents(&server, database, wanted)?;
                let found = super::contents::contents(database, wanted, &inside);
                differences.extend(found.into_iter().map(|difference| difference.what));
                let missing = wanted.seeds.keys().filter(|seed| !inside.seeds.contains(seed));
                seeds.extend(missing.map(|seed| format!("{database}/{seed}")));
            }
        }
    }
    let over = over.into_iter().map(|difference| difference.what).collect();
    Ok(Some(DatabasesLive { differences, seeds, over, next_over_ms: roles::next_over(&spec, &live) }))
}
