//! Whether what containers print is bounded.

use crate::config::closest;
use crate::diag::Origin;
use crate::render::{Logging, Stated, bytes};

/// What a service without end gets as advice.
const REMEDY: &str =
    "write `logging: { driver: json-file, options: { max-size: 10m, max-file: \"3\" } }`, or `driver: local`";

/// The driver's own options, so that none of them is taken for a misspelt one.
const OPTIONS: [&str; 8] = ["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];

/// Returns what lets the log of a service grow without end: where, what, and what to do.
///
/// Every other driver than `json-file` bounds itself (`local`) or keeps nothing of its own on the host.
///
/// # Source
/// Docker's manual, "Configure logging drivers", as of 28: `json-file` is the default, and its `max-size` is without end unless set; from the
/// driver's source: a `max-size` has to be more than nothing, and `max-file` at least 1. A host's `daemon.json` may say otherwise, for containers
/// that are made after its engine was restarted with it: an engine tells its driver, and not its options, so that is no proof.
pub(super) fn endless(name: &str, logging: &Stated<Logging>) -> Option<(Origin, String, String)> {
    let Stated { value: Logging { driver, options }, at } = logging;
    if driver.as_deref().is_some_and(|driver| driver != "json-file") {
        return None;
    }
    let option = |wanted: &str| options.iter().find(|option| option.value.0 == wanted);
    let Some(size) = option("max-size") else {
        let keys = options.iter().map(|option| option.value.0.as_str()).filter(|key| !OPTIONS.contains(key));
        let hint = match closest("max-size", keys) {
            Some(meant) => format!("`{meant}` is none of its options: write `max-size`"),
            None => REMEDY.to_owned(),
        };
        return Some((at.clone(), format!("what `{name}` prints is kept without end, by Docker's `json-file`"), hint));
    };
    let text = &size.value.1;
    if bytes(text).is_none_or(|size| size == 0) {
        let message = format!("`{text}` bounds no log of `{name}`, and Docker would not start it");
        return Some((size.at.clone(), message, "write a size such as `10m`".to_owned()));
    }
    let files = option("max-file")?;
    if files.value.1.parse::<u32>().is_ok_and(|files| files > 0) {
        return None;
    }
    let message =
        format!("`{}` is no number of files for the log of `{name}`, and Docker would not start it", files.value.1);
    Some((files.at.clone(), message, "write one such as `\"3\"`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(driver: Option<&str>, options: &[(&str, &str)]) -> Option<String> {
        let at = Origin::default();
        let option =
            |(key, value): &(&str, &str)| Stated { value: ((*key).to_owned(), (*value).to_owned()), at: at.clone() };
        let value = Logging { driver: driver.map(str::to_owned), options: options.iter().map(option).collect() };
        endless("web", &Stated { value, at: at.clone() }).map(|(_, message, hint)| format!("{message}; {hint}"))
    }

    #[test]
    fn cap_81_a_log_has_an_end_where_its_driver_gives_it_one() {
        for (driver, options) in [
            (None, &[("max-size", "10m")][..]),
            (Some("json-file"), &[("max-size", "1.5g"), ("max-file", "3")]),
            (Some("local"), &[]),
            (Some("local"), &[("max-size", "20m")]),
            (Some("journald"), &[]),
            (Some("none"), &[]),
            (Some("fluentd"), &[("fluentd-address", "127.0.0.1:24224")]),
        ] {
            assert_eq!(said(driver, options), None, "{driver:?} {options:?}");
        }
        for (driver, options, wanted) in [
            (None, &[][..], "without end"),
            (None, &[("max-file", "3")], "without end"),
            (Some("json-file"), &[("tag", "{{.Name}}")], "without end"),
            (Some("json-file"), &[("max_size", "10m")], "`max_size` is none of its options: write `max-size`"),
            (None, &[("max-file", "3")], "write `logging:"),
            (None, &[("max-size", "-1")], "`-1` bounds no log"),
            (None, &[("max-size", "0")], "`0` bounds no log"),
            (None, &[("max-size", "ten")], "`ten` bounds no log"),
            (None, &[("max-size", "10m"), ("max-file", "0")], "`0` is no number of files"),
        ] {
            let said = said(driver, options).unwrap_or_default();
            assert!(said.contains(wanted), "{driver:?} {options:?}: {said}");
        }
    }
}
