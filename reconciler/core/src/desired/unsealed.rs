//! An environment that has no secrets yet: one finding that names all it wants, instead of one for each template.

use std::collections::BTreeSet;

use crate::config::{Config, Environment};
use crate::diag::{Diagnostic, Diagnostics, Severity};

/// What a finding about a name that only secrets give begins with: in a template, and of a password in the app's own file.
const ABOUT: [(&str, &str); 3] = [
    ("undefined-variable", "`secrets."),
    ("undefined-variable", "`logins."),
    ("unknown-secret", "there is no secret `"),
];

/// Puts one finding in the place of all that are there because the environment has no secret at all; leaves everything else.
pub(super) fn unsealed(config: &Config, environment: &Environment, findings: Diagnostics) -> Diagnostics {
    let is_about = |finding: &Diagnostic| {
        ABOUT.iter().any(|(code, start)| finding.code == *code && finding.message.starts_with(start))
    };
    let mut wanted = BTreeSet::new();
    for finding in findings.0.iter().filter(|finding| is_about(finding)) {
        let text = config.templates.get(&finding.origin.file);
        wanted.extend(text.into_iter().flat_map(|text| names(text)).filter(|name| !name.is_empty()));
        wanted.extend(finding.message.strip_prefix(ABOUT[2].1).and_then(|rest| rest.strip_suffix('`')));
    }
    // A login that is misspelt names no secret: it is said as it was found.
    if !environment.secrets.is_empty() || wanted.is_empty() {
        return findings;
    }
    let (name, wanted) = (&environment.name, wanted.into_iter().collect::<Vec<_>>().join(", "));
    let mut rest: Vec<Diagnostic> = findings.0.iter().filter(|finding| !is_about(finding)).cloned().collect();
    rest.push(Diagnostic {
        severity: Severity::Error,
        code: "no-secrets".to_owned(),
        origin: environment.origin.clone(),
        line_text: String::new(),
        length: 1,
        message: format!("`{name}` has no secrets yet, and it needs {wanted}"),
        hint: format!(
            "write them as YAML, such as `database: {{ password: … }}`, and pipe it through `holdfast secrets encrypt --recipient age1… > \
             environments/{name}/secrets.sops.yaml`; what nobody needs to know is made by `secrets: generate:` in environment.yaml"
        ),
    });
    Diagnostics(rest)
}

/// Returns the secrets that a template's text names, each as far as it is written out.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("secrets.").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_off_the_text() {
        let text =
            "{{ secrets.database.password | urlencode }}@x {% if secrets.tls %}{{secrets.smtp.password}}. secrets.";
        assert_eq!(names(text).collect::<Vec<_>>(), ["database.password", "tls", "smtp.password", ""]);
    }
}
