//! `holdfast metrics`: this manager's state as Prometheus reads it.

use std::collections::BTreeMap;

use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::metrics::{environments, observe, text};
use crate::setup::Setup;
use crate::wire::Wire;

/// Asks the hosts, the store and the daemon, and prints.
pub(crate) async fn run(setup: &Setup) -> Result<Exit, Error> {
    let wire = Wire::open(&setup.manager).await?;
    setup.repository.fetch().await.or_hint("is the repository reachable from here? `holdfast doctor` looks")?;
    let (mut observed, mut exit) = (BTreeMap::new(), Exit::Ok);
    for name in environments(setup).await? {
        let seen = observe(setup, &wire, &name).await;
        if let Err(error) = &seen {
            setup.output.say(&format!("warning: {name}: {}", error.message));
            exit = Exit::Failed;
        }
        observed.insert(name, seen.ok());
    }
    setup.output.data(&text(setup, &wire, observed).await?);
    Ok(exit)
}
