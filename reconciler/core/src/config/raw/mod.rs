//! What each kind of file may hold, as written: types, decoders and JSON Schemas in one.
//!
//! The doc comments here are what a user sees in the editor: they are the descriptions of the JSON Schema.

mod app;
mod backup;
mod certificate;
mod check;
mod databases;
mod environment;
mod holdfast;
mod inventory;
mod leaf;
mod manager;
mod notices;
mod prerequisite;
mod secrets;
mod selector;
mod values;
mod window;

pub(crate) use app::{App, Component, Connections, Ports, Static};
pub(crate) use backup::{Backup, BackupClass, ClockTime, Day, Offsite};
pub(crate) use certificate::{Certificate, CertificateName, Hsts};
pub(crate) use check::{Argv, Drain, Healthcheck, Migrate, Prove, Smoke, Sql, Watch, WatchMetrics, WebsocketDrain};
pub(crate) use databases::{PostgresServer, RedisServer, RoleName};
pub(crate) use environment::{Environment, MaxUnavailable, Requires, Rollout, Sync};
pub(crate) use holdfast::{Defaults, Holdfast};
pub(crate) use inventory::{Host, Inventory};
pub(crate) use leaf::{Account, EmailAddress, Identifier, LabelKey, LocalPath, Scalar, TemplatePath};
pub(crate) use manager::{Manager, ManagerApproval, ManagerCheck, ManagerHttps, ManagerSsh};
pub(crate) use notices::{ManagerNotice, ManagerSmtp};
pub(crate) use prerequisite::{Allow, Firewall, FolderPath, Source};
pub(crate) use secrets::{Fingerprint, SecretName, Secrets};
pub(crate) use selector::Selector;
pub(crate) use window::{ScheduleText, Window};
