//! Writes down what the transaction brought.

use holdfast_protocol::AppRecord;

use super::{Act, Probed, StepError, Work, decode, encode};
use crate::ledger;

/// Writes the app's record into the ledger, or takes the app out.
pub(super) struct Record<'a>(pub(super) Option<&'a AppRecord>);

fn failed(error: &ledger::LedgerError) -> StepError {
    StepError::Failed(error.to_string())
}

fn set(work: &Work<'_>, record: Option<&AppRecord>) -> Result<(), StepError> {
    let app = &work.spec.app;
    ledger::update(&work.host.root, &work.host.disk, |ledger| {
        match record {
            Some(record) => ledger.apps.insert(app.clone(), record.clone()),
            None => ledger.apps.remove(app),
        };
    })
    .map_err(|error| failed(&error))
}

impl Act for Record<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| failed(&error))?.unwrap_or_default();
        Ok(encode(&ledger.apps.get(&work.spec.app)))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        set(work, self.0)?;
        Ok(String::new())
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| failed(&error))?.unwrap_or_default();
        let same = ledger.apps.get(&work.spec.app) == self.0;
        Ok(if same { Probed::Happened(String::new()) } else { Probed::DoIt })
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let before: Option<AppRecord> = decode(before)?;
        set(work, before.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn a_record_comes_and_the_one_before_comes_back() {
        let bench = Bench::new();
        let record = |release: &str| AppRecord {
            release: release.to_owned(),
            commit: "c".to_owned(),
            transaction: "t".to_owned(),
            components: BTreeMap::new(),
            previous: None,
        };
        let (first, second) = (record("v1"), record("v2"));
        Record(Some(&first)).apply(&bench.work(), &[]).unwrap();
        let step = Record(Some(&second));
        let before = step.capture(&bench.work()).unwrap();
        assert_eq!(step.probe(&bench.work(), &before).unwrap(), Probed::DoIt);
        step.apply(&bench.work(), &before).unwrap();
        assert!(matches!(step.probe(&bench.work(), &before).unwrap(), Probed::Happened(_)));
        step.undo(&bench.work(), &before).unwrap();
        let release = |bench: &Bench| {
            let ledger = ledger::load(&bench.host.root).unwrap().unwrap();
            ledger.apps.get("prod/shop").map(|record| record.release.clone())
        };
        assert_eq!(release(&bench), Some("v1".to_owned()));
        Record(None).apply(&bench.work(), &[]).unwrap();
        assert_eq!(release(&bench), None);
    }
}
