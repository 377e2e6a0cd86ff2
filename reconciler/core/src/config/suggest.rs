//! What the user probably meant.

/// Returns the candidate closest to `text`, when one is close enough to be what was meant.
///
/// # Source
/// Optimal string alignment distance: insert, delete, replace and swap of neighbours each cost one. A third of the longer word
/// may differ, as in rustc's `find_best_match_for_name`.
pub fn closest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wanted = normal(text);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = normal(candidate);
        let allowed = wanted.len().max(other.len()).div_ceil(3);
        if wanted.len().abs_diff(other.len()) > allowed {
            continue;
        }
        let distance = distance(&wanted, &other);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Returns the hint for a wrong word: the closest candidate, or all of them where they are few.
pub(crate) fn hint<'c>(text: &str, what: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> String {
    if let Some(candidate) = closest(text, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.len() {
        0 => format!("there are no {what}"),
        1..=40 => format!("{what}: {}", all.join(", ")),
        count => {
            format!("{what}: {} and {} more", all.iter().take(40).copied().collect::<Vec<_>>().join(", "), count - 40)
        }
    }
}

/// Case and the two word joiners do not count as a difference. Long text is cut: the distance is quadratic.
fn normal(text: &str) -> Vec<char> {
    text.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![vec![0; width]; a.len() + 1];
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column;
    }
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..width {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["healthcheck", "hosts", "ports", "prove", "keep_previous", "release"];
        for (text, want) in [
            ("healtcheck", Some("healthcheck")),
            ("helathcheck", Some("healthcheck")),
            ("keep-previous", Some("keep_previous")),
            ("Hosts", Some("hosts")),
            ("host", Some("hosts")),
            ("prot", Some("ports")),
            ("relaese", Some("release")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(text, keys), want, "{text}");
        }
    }
}
