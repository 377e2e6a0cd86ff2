//! The site that leads to the slot that does not serve.

use super::findings::Findings;
use super::model::PreviewSpec;
use super::place::At;
use super::raw;
use super::suggest;
use crate::id::ComponentName;

/// Returns the preview of an nginx component. Nobody sees it who is not allowed to: it shows what is not released yet.
pub(super) fn preview(
    name: &At<ComponentName>,
    raw: &raw::Component,
    findings: &mut Findings<'_>,
) -> Option<PreviewSpec> {
    let at = raw.preview.as_ref()?;
    if raw.wrong.any(&["nginx", "upstreams"]) {
        return None;
    }
    let mut refuse = |message: String, hint: &str| findings.error_at("bad-preview", at, message, hint);
    if raw.nginx.is_none() {
        refuse(
            format!("`preview` needs `nginx`, and `{}` has none", name.value),
            "give it to the component with the site",
        );
        return None;
    }
    if at.value.allow.is_empty() {
        refuse("nobody may see this preview".to_owned(), "allow at least one network, such as `10.0.0.0/8`");
    }
    if let Some(all) = at.value.allow.iter().find(|network| network.value.0.ends_with("/0")) {
        let message = format!("`{}` is everybody, and a preview shows what is not released yet", all.value.0);
        findings.error_at("bad-preview", all, message, "name the networks of those who look at it");
    }
    let upstreams = raw.upstreams.iter().flat_map(|upstreams| &upstreams.entries);
    let known: Vec<&str> = upstreams.map(|entry| entry.name.value.0.as_str()).collect();
    let upstream = match (&at.value.upstream, known.as_slice()) {
        (Some(named), known) if !known.contains(&named.value.0.as_str()) => {
            let hint = suggest::hint(&named.value.0, "upstreams", known.iter().copied());
            findings.error_at("bad-preview", named, format!("there is no upstream `{}`", named.value.0), hint);
            return None;
        }
        (Some(named), _) => named.value.0.clone(),
        (None, [only]) => (*only).to_owned(),
        (None, _) => {
            let hint = "name it with `upstream`";
            findings.error_at("bad-preview", at, "the site has not exactly one upstream: which is shown?", hint);
            return None;
        }
    };
    Some(PreviewSpec {
        host: at.value.host.0.clone(),
        port: at.value.port.map_or(80, super::decode::Port::number),
        allow: at.value.allow.iter().map(|network| network.value.0.clone()).collect(),
        upstream,
    })
}
