//! One commit's tree to a validated model, all errors at once, each with its place.
//!
//! # Flow
//! Takes a [`SourceTree`]; gives a [`Config`] and [`Diagnostics`](crate::diag::Diagnostics).
//!
//! ```text
//! yaml (text → located tree) → decode + raw (tree → values as written) → read (files by their place in the layout)
//!   → hosts, resolve, checks (names resolved, defaults filled in) → claims (nothing twice on a host) → model
//! ```
//!
//! # Format
//! `holdfast.yaml`, `inventory/*.yaml`, `environments/<env>/{environment,secrets.sops,<app>}.yaml`,
//! `environments/<env>/generated/<name>.sops.yaml`, `templates/**/*.j2`. YAML 1.2; unknown keys are errors, keys that begin with `x-` are the user's own, in every map that has fixed keys.

mod backups;
mod certificates;
mod checks;
mod claims;
mod component_claims;
mod databases;
mod decode;
mod findings;
mod hosts;
pub mod limits;
mod load;
mod manager;
mod metrics;
mod migrations;
mod model;
mod notices;
mod place;
mod ports;
mod prerequisites;
mod preview;
mod raw;
mod read;
mod redis;
mod resolve;
mod schema;
mod secrets;
mod settings;
mod sops;
mod sql;
mod statics;
mod suggest;
mod tree;
mod windows;
mod yaml;

pub use backups::Recurrence;
pub use certificates::{Certificate, CertificateAuthority};
pub(crate) use component_claims::{backup_component, certificate_component, databases_component, redis_component};
pub(crate) use databases::login_name;
pub use databases::{DatabasePlan, PostgresSpec, RolePlan};
pub use load::{FORMAT, load};
pub use manager::{Followed, HistoryKept, ManagerFile, ROLLOUTS, load_manager};
pub use model::*;
pub use notices::{MailSecurity, NoticeSeverity, NoticeSink, NoticeTarget};
pub use redis::RedisPlan;
pub use schema::{FileKind, schema};
pub use secrets::{DeclaredSecrets, declared_secrets, generated_path};
pub use statics::StaticSource;
pub use suggest::closest;
pub use tree::{SourceTree, TreeProblem};
