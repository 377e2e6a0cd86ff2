//! What is inside a database: what differs from the declaration.

use holdfast_protocol::{Access, DatabaseSpec};

use super::catalog::{Contents, Granted};
use super::{Difference, name};

/// Returns what differs about a database that is there.
pub(super) fn contents(database: &str, spec: &DatabaseSpec, live: &Contents) -> Vec<Difference> {
    let mut found = Vec::new();
    let owner = name(&spec.owner);
    if !live.owner_creates {
        let sql = format!("GRANT ALL ON SCHEMA public TO {owner};\n");
        found.push(Difference::new(format!("{} may not make tables in {database}", spec.owner), sql));
    }
    for extension in spec.extensions.iter().filter(|extension| !live.extensions.contains(extension)) {
        let sql = format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE;\n", name(extension));
        found.push(Difference::new(format!("extension {extension} of {database} is missing"), sql));
    }
    let nothing = Granted::default();
    for (role, access) in &spec.grants {
        let granted = live.grants.get(role).unwrap_or(&nothing);
        let may = match access {
            Access::Read => granted.read && granted.later_read,
            Access::Write => granted.read && granted.later_read && granted.write && granted.later_write,
        };
        if may && granted.connect && granted.usage {
            continue;
        }
        let (tables, sequences, word) = match access {
            Access::Read => ("SELECT", "SELECT", "read"),
            Access::Write => ("SELECT, INSERT, UPDATE, DELETE", "SELECT, USAGE", "write"),
        };
        let (role_name, database_name) = (name(role), name(database));
        let later = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT");
        let sql = format!(
            "GRANT CONNECT ON DATABASE {database_name} TO {role_name};\n\
             GRANT USAGE ON SCHEMA public TO {role_name};\n\
             GRANT {tables} ON ALL TABLES IN SCHEMA public TO {role_name};\n\
             GRANT {sequences} ON ALL SEQUENCES IN SCHEMA public TO {role_name};\n\
             {later} {tables} ON TABLES TO {role_name};\n\
             {later} {sequences} ON SEQUENCES TO {role_name};\n"
        );
        found.push(Difference::new(format!("{role} may not {word} all of {database}"), sql));
    }
    found
}
