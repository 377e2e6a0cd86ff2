//! Roles and logins: what differs from the declaration.

use holdfast_protocol::{DatabasesSpec, LoginSpec};

use super::catalog::{Cluster, Role};
use super::scram::{self, unhex};
use super::{DatabasesError, Difference, name, text};

/// The comment of a login that Holdfast made.
const OURS: &str = "holdfast: a login";

/// What follows it when another login has taken its place: the time, in milliseconds since the Unix epoch.
const RETIRED: &str = ", retired at ";

/// Returns what differs about roles. `salt` gives the salt of a new verifier.
pub(super) fn roles(
    spec: &DatabasesSpec,
    cluster: &Cluster,
    salt: &mut dyn FnMut() -> Result<[u8; 16], DatabasesError>,
) -> Result<Vec<Difference>, DatabasesError> {
    let mut found = Vec::new();
    for role in spec.roles.keys().filter(|role| cluster.role(role).is_none()) {
        found
            .push(Difference::new(format!("role {role} is missing"), format!("CREATE ROLE {} NOLOGIN;\n", name(role))));
    }
    for (role, wanted) in &spec.roles {
        let nothing = Role::default();
        let live = cluster.role(role).unwrap_or(&nothing);
        if live.login {
            let what = format!("role {role} can log in by itself");
            found.push(Difference::new(what, format!("ALTER ROLE {} NOLOGIN PASSWORD NULL;\n", name(role))));
        }
        for group in wanted.member_of.iter().filter(|group| !live.member_of.contains(group)) {
            let what = format!("role {role} is no member of {group}");
            found.push(Difference::new(what, format!("GRANT {} TO {};\n", name(group), name(role))));
        }
        // Only what is declared here: a membership in a role of somebody else is not ours.
        let extra = |group: &&String| !wanted.member_of.contains(group) && spec.roles.contains_key(*group);
        for group in live.member_of.iter().filter(extra) {
            let what = format!("role {role} is a member of {group}");
            found.push(Difference::new(what, format!("REVOKE {} FROM {};\n", name(group), name(role))));
        }
        if let Some(login) = &wanted.login {
            found.extend(current(role, login, cluster, salt)?);
        }
        found.extend(former(role, wanted.login.as_ref(), spec, cluster));
    }
    Ok(found)
}

/// Returns what differs about the login that is to work.
fn current(
    role: &str,
    login: &LoginSpec,
    cluster: &Cluster,
    salt: &mut dyn FnMut() -> Result<[u8; 16], DatabasesError>,
) -> Result<Vec<Difference>, DatabasesError> {
    let quoted = name(&login.name);
    let mut found = Vec::new();
    let nothing = Role::default();
    let live = if let Some(live) = cluster.role(&login.name) {
        live
    } else {
        let verifier = scram::verifier(&login.password.0, &salt()?, scram::ROUNDS)?;
        let sql = format!("CREATE ROLE {quoted} LOGIN PASSWORD {};\n", text(&verifier));
        found.push(Difference::new(format!("login {} is missing", login.name), sql));
        &nothing
    };
    if !live.name.is_empty() {
        if !live.login {
            let sql = format!("ALTER ROLE {quoted} LOGIN;\n");
            found.push(Difference::new(format!("login {} cannot log in", login.name), sql));
        }
        let same = unhex(&live.salt).filter(|salt| !salt.is_empty()).is_some_and(|salt| {
            scram::verifier(&login.password.0, &salt, live.rounds).is_ok_and(|made| made == live.verifier)
        });
        if !same {
            let verifier = scram::verifier(&login.password.0, &salt()?, scram::ROUNDS)?;
            let sql = format!("ALTER ROLE {quoted} PASSWORD {};\n", text(&verifier));
            found.push(Difference::new(format!("login {} has another password", login.name), sql));
        }
    }
    if !live.member_of.iter().any(|group| group == role) {
        let sql = format!("GRANT {} TO {quoted};\n", name(role));
        found.push(Difference::new(format!("login {} is no member of {role}", login.name), sql));
    }
    if !live.settings.contains(&format!("role={role}")) {
        // What it makes belongs to the role, and so to the next login too.
        let sql = format!("ALTER ROLE {quoted} SET role = {};\n", text(role));
        found.push(Difference::new(format!("login {} does not become {role}", login.name), sql));
    }
    if live.comment != OURS {
        let sql = format!("COMMENT ON ROLE {quoted} IS {};\n", text(OURS));
        found.push(Difference::new(format!("login {} is not marked as the one in use", login.name), sql));
    }
    Ok(found)
}

/// Returns what differs about logins that were followed by another one.
fn former(role: &str, login: Option<&LoginSpec>, spec: &DatabasesSpec, cluster: &Cluster) -> Vec<Difference> {
    let mut found = Vec::new();
    for (old, since) in logins(role, login, cluster) {
        let quoted = name(&old.name);
        let Some(since) = since else {
            let comment = format!("{OURS}{RETIRED}{}", cluster.now_ms);
            let sql = format!("COMMENT ON ROLE {quoted} IS {};\n", text(&comment));
            found.push(Difference::new(format!("login {} is followed by another one", old.name), sql));
            continue;
        };
        if since.saturating_add(spec.retire_after_ms) > cluster.now_ms {
            continue;
        }
        let what = format!("login {} is over", old.name);
        if old.sessions == 0 {
            let sql = format!("DROP ROLE {quoted};\n");
            found.push(Difference { what, sql, over: true });
        } else if old.login {
            // Whoever is in stays; nobody comes in any more.
            let sql = format!("ALTER ROLE {quoted} NOLOGIN;\n");
            found.push(Difference { what, sql, over: true });
        }
    }
    found
}

/// Returns our logins of a role besides the one in use, each with the time since when it is retired.
fn logins<'a>(
    role: &'a str,
    login: Option<&'a LoginSpec>,
    cluster: &'a Cluster,
) -> impl Iterator<Item = (&'a Role, Option<u64>)> {
    let of_role = move |other: &&Role| {
        other.member_of.iter().any(|group| group == role)
            && other.settings.contains(&format!("role={role}"))
            && login.is_none_or(|login| login.name != other.name)
    };
    cluster.roles.iter().filter(of_role).filter_map(|other| {
        let rest = other.comment.strip_prefix(OURS)?;
        match rest.strip_prefix(RETIRED) {
            Some(since) => Some((other, Some(since.parse().ok()?))),
            None => rest.is_empty().then_some((other, None)),
        }
    })
}

/// Returns when the next login's time is over, for those whose time is not over yet.
pub(super) fn next_over(spec: &DatabasesSpec, cluster: &Cluster) -> Option<u64> {
    let all = spec.roles.iter().flat_map(|(role, wanted)| logins(role, wanted.login.as_ref(), cluster));
    let ends = all.filter_map(|(_, since)| Some(since?.saturating_add(spec.retire_after_ms)));
    ends.filter(|end| *end > cluster.now_ms).min()
}

/// Returns what hands over what a login whose time is over still owns in a database, so that it can be dropped.
pub(super) fn handed_over(spec: &DatabasesSpec, cluster: &Cluster) -> String {
    let mut sql = String::new();
    for (role, wanted) in &spec.roles {
        for (old, since) in logins(role, wanted.login.as_ref(), cluster) {
            let over = since.is_some_and(|since| since.saturating_add(spec.retire_after_ms) <= cluster.now_ms);
            if over && old.sessions == 0 {
                let quoted = name(&old.name);
                let role = name(role);
                sql.extend(["REASSIGN OWNED BY ", &quoted, " TO ", &role, ";\nDROP OWNED BY ", &quoted, ";\n"]);
            }
        }
    }
    sql
}
