//! Looks at how servers stand against their declarations.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use holdfast_protocol::{DatabasesLive, DatabasesQuery, DatabasesSpec, Observed, ServerQuery};

use super::catalog::contents;
use super::server::Server;
use super::{DatabasesError, load, redis, roles, settings};

/// How long one question may take: an observation waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns how the databases of these declarations stand.
pub fn look(declarations: &[DatabasesQuery]) -> BTreeMap<String, Observed<DatabasesLive>> {
    let one = |query: &DatabasesQuery| match &query.server {
        ServerQuery::Postgres { superuser } => match load(Path::new(&query.path))? {
            Some(spec) => stand(&spec, query),
            None => undeclared(query, superuser),
        },
        ServerQuery::Redis { password_file } => redis::stand(query, password_file.as_deref(), DEADLINE),
    };
    let seen = |query: &DatabasesQuery| match one(query) {
        Ok(live) => Observed::Seen(live),
        Err(DatabasesError::Down(_)) => Observed::Absent,
        Err(error) => Observed::Unknown(error.to_string()),
    };
    declarations.iter().map(|query| (query.path.clone(), seen(query))).collect()
}

/// Nothing is declared on this host yet, and of a server that is there already it is known what will become of its settings.
fn undeclared(query: &DatabasesQuery, superuser: &str) -> Result<DatabasesLive, DatabasesError> {
    let spec = DatabasesSpec {
        project: query.project.clone(),
        service: query.service.clone(),
        superuser: superuser.to_owned(),
        retire_after_ms: 0,
        roles: BTreeMap::new(),
        databases: BTreeMap::new(),
        settings: BTreeMap::new(),
    };
    let live = settings::look(&Server::find(&spec, DEADLINE)?, &query.settings)?;
    Ok(DatabasesLive {
        reloads: settings::settings(&query.settings, &live).into_iter().map(|change| change.what).collect(),
        refused: settings::refused(&query.settings, &live),
        ..DatabasesLive::default()
    })
}

fn stand(spec: &DatabasesSpec, query: &DatabasesQuery) -> Result<DatabasesLive, DatabasesError> {
    let server = Server::find(spec, DEADLINE)?;
    let live = settings::look(&server, &query.settings)?;
    let whats = |wanted| settings::settings(wanted, &live).into_iter().map(|change| change.what).collect::<Vec<_>>();
    // No salt is needed to see what differs.
    let (over, found): (Vec<_>, Vec<_>) =
        roles::roles(spec, &live, &mut || Ok([0; 16]))?.into_iter().partition(|difference| difference.over);
    let mut differences: Vec<String> = found.into_iter().map(|difference| difference.what).collect();
    differences.extend(whats(&spec.settings));
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
    Ok(DatabasesLive {
        differences,
        seeds,
        over,
        next_over_ms: roles::next_over(spec, &live),
        reloads: whats(&query.settings),
        refused: settings::refused(&query.settings, &live),
    })
}
