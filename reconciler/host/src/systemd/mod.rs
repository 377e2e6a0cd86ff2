//! Asks systemd about many units in one go.
//!
//! # Flow
//! [`Units`] keeps one connection: systemd's private socket where we may use it (no broker in between), else the system bus. Where
//! neither answers, one `systemctl show` tells the same.

mod bus;
mod detail;
mod show;
mod unit_files;
mod units;
mod wire;

pub use bus::{Bus, BusError, Signal};
pub use detail::{UnitDetail, detail, forget_failure, stop_timeout};
pub(crate) use unit_files::drop_in_folders;
pub use units::{Units, valid_unit_name};
pub use wire::WireError;
