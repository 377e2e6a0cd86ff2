use holdfast_core::desired::DesiredState;
use holdfast_protocol::{BackupRequest, OffsiteHeld, OffsiteNote};

use super::{Class, OffsiteError, ask, copy};
use crate::ports::Connector;

/// How a round went for one class of one host.
#[derive(Debug)]
pub struct RoundEnd {
    /// Which.
    pub class: Class,
    /// The backups that were copied.
    pub copied: Vec<String>,
    /// What is off-site now; `None` when that is unknown.
    pub held: Option<OffsiteHeld>,
    /// What went wrong; empty when nothing did.
    pub failed: String,
}

/// Returns the classes of an environment that are copied.
pub fn classes(desired: &DesiredState) -> Vec<Class> {
    let mut classes = Vec::new();
    for host in desired.order.iter().filter_map(|name| desired.hosts.get(name)) {
        for app in host.apps.values() {
            for (declaration, backup) in app.components.iter().flat_map(|component| &component.backups) {
                let Some(offsite) = &backup.offsite else { continue };
                classes.push(Class {
                    host: host.host.clone(),
                    app: app.name.clone(),
                    declaration: declaration.clone(),
                    spec: backup.spec.clone(),
                    offsite: offsite.clone(),
                });
            }
        }
    }
    classes
}

/// Copies what is wanted of some classes, one after the other, and notes on each host how its copies stand.
///
/// One that fails keeps no other from being copied.
pub async fn round(connector: &dyn Connector, classes: Vec<Class>) -> Vec<RoundEnd> {
    let mut ends = Vec::new();
    for class in classes {
        let (mut copied, mut held, mut failed) = (Vec::new(), None, String::new());
        match carried(connector, &class).await {
            Ok((files, there)) => (copied, held) = (files, Some(there)),
            Err(error) => failed = error.to_string(),
        }
        let note = OffsiteNote { host: class.offsite.name.to_string(), held: held.clone(), failed: failed.clone() };
        if let Err(error) = noted(connector, &class, note).await
            && failed.is_empty()
        {
            failed = error.to_string();
        }
        ends.push(RoundEnd { class, copied, held, failed });
    }
    ends
}

async fn carried(connector: &dyn Connector, class: &Class) -> Result<(Vec<String>, OffsiteHeld), OffsiteError> {
    let from = connector.connect(&class.host).await?;
    let to = connector.connect(&class.offsite).await?;
    copy(class, from.as_ref(), to.as_ref()).await
}

async fn noted(connector: &dyn Connector, class: &Class, note: OffsiteNote) -> Result<(), OffsiteError> {
    let link = connector.connect(&class.host).await?;
    let declaration = class.declaration.clone();
    ask(link.as_ref(), &class.host, BackupRequest::Note { declaration, note }).await.map(drop)
}
