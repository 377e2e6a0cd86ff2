//! Which backups are over. A decision about values: nothing is looked at here.

/// A good backup: a file of ours with a valid sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) file: String,
    pub(super) taken_at_ms: u64,
}

/// Returns the files that are over, now that `new` was taken.
///
/// # Guarantees
/// Only files among `good`. Never `new`, never the newest, never one younger than `keep_ms`, and never so many that fewer than
/// `at_least` stay. Nothing at all where `new` is not among the good ones.
pub(super) fn expired(good: &[Good], new: &str, now_ms: u64, keep_ms: u64, at_least: u32) -> Vec<String> {
    if !good.iter().any(|one| one.file == new) {
        return Vec::new();
    }
    let mut newest_first: Vec<&Good> = good.iter().collect();
    newest_first.sort_by(|a, b| (b.taken_at_ms, &b.file).cmp(&(a.taken_at_ms, &a.file)));
    let least = usize::try_from(at_least).unwrap_or(usize::MAX).max(1);
    newest_first
        .into_iter()
        .skip(least)
        // One from the future has no age: a clock that was wrong must not cost a backup.
        .filter(|one| now_ms.saturating_sub(one.taken_at_ms) > keep_ms && one.file != new)
        .map(|one| one.file.clone())
        .collect()
}

/// Returns those of a host's good backups that its off-site host has not and would keep, the newest first.
///
/// # Guarantees
/// The newest of all is always held or wanted. Nothing is wanted that would be over at once.
pub(super) fn wanted(good: &[Good], held: &[Good], now_ms: u64, keep_ms: u64, at_least: u32) -> Vec<String> {
    let is_held = |one: &&Good| held.iter().any(|other| other.file == one.file);
    let mut all: Vec<Good> = held.to_vec();
    all.extend(good.iter().filter(|one| !is_held(one)).cloned());
    let Some(newest) = all.iter().max_by_key(|one| (one.taken_at_ms, &one.file)) else { return Vec::new() };
    let over = expired(&all, &newest.file, now_ms, keep_ms, at_least);
    let mut missing: Vec<&Good> = good.iter().filter(|one| !is_held(one) && !over.contains(&one.file)).collect();
    missing.sort_by(|a, b| (b.taken_at_ms, &b.file).cmp(&(a.taken_at_ms, &a.file)));
    missing.into_iter().map(|one| one.file.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> impl Strategy<Value = Vec<Good>> {
        prop::collection::vec(0_u64..1000, 0..20).prop_map(|times| {
            let one = |(index, taken_at_ms)| Good { file: format!("d-{index}"), taken_at_ms };
            times.into_iter().enumerate().map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn cap_63_the_last_good_ones_stay(all in good(), new in 0_usize..25, now in 0_u64..2000, keep in 0_u64..1500, least in 0_u32..6) {
            let new = format!("d-{new}");
            let over = expired(&all, &new, now, keep, least);
            let is_good = all.iter().any(|one| one.file == new);
            if !is_good {
                prop_assert!(over.is_empty());
            }
            prop_assert!(!over.contains(&new));
            prop_assert!(over.iter().all(|file| all.iter().any(|one| one.file == *file)), "only ours");
            let left = all.len() - over.len();
            prop_assert!(left >= all.len().min(least.max(1) as usize));
            let newest = all.iter().map(|one| one.taken_at_ms).max();
            let stays = |one: &&Good| !over.contains(&one.file);
            prop_assert_eq!(all.iter().filter(stays).map(|one| one.taken_at_ms).max(), newest, "the newest stays");
            for file in &over {
                let taken = all.iter().find(|one| one.file == *file).unwrap().taken_at_ms;
                prop_assert!(now > taken + keep, "none is taken before its time");
            }
            for one in &all {
                let newer = all.iter().filter(|other| other.taken_at_ms > one.taken_at_ms).count();
                let twins = all.iter().filter(|other| other.taken_at_ms == one.taken_at_ms).count();
                let old = now > one.taken_at_ms + keep && newer >= least.max(1) as usize && twins == 1;
                if is_good && old && one.file != new {
                    prop_assert!(over.contains(&one.file), "what is over goes");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn cap_64_copies_keep_the_last_good_one(
            all in good(), there in prop::collection::vec(any::<bool>(), 20), now in 0_u64..2000, keep in 0_u64..1500, least in 0_u32..6,
        ) {
            let mut held: Vec<Good> = all.iter().zip(&there).filter(|(_, there)| **there).map(|(one, _)| one.clone()).collect();
            let had = held.clone();
            let wanted = wanted(&all, &held, now, keep, least);
            prop_assert!(wanted.iter().all(|file| !had.iter().any(|one| one.file == *file)), "nothing is copied twice");
            // Copied one after the other, each followed by a pruning, as a round does it.
            for file in &wanted {
                held.push(all.iter().find(|one| one.file == *file).unwrap().clone());
                let over = expired(&held, file, now, keep, least);
                prop_assert!(!over.contains(file));
                held.retain(|one| !over.contains(&one.file));
            }
            let newest = |list: &[Good]| list.iter().map(|one| one.taken_at_ms).max();
            prop_assert_eq!(newest(&held), newest(&all), "the newest is there");
            prop_assert!(held.len() >= all.len().min(least.max(1) as usize));
            prop_assert!(wanted.iter().all(|file| held.iter().any(|one| one.file == *file)), "nothing is copied in vain");
            prop_assert!(super::wanted(&all, &held, now, keep, least).is_empty(), "a second round copies nothing");
        }
    }

    #[test]
    fn thirty_days_of_six_hours() {
        let hour = 3_600_000;
        let all: Vec<Good> = (0..200).map(|n| Good { file: format!("d-{n:03}"), taken_at_ms: n * 6 * hour }).collect();
        let now = 199 * 6 * hour;
        let over = expired(&all, "d-199", now, 30 * 24 * hour, 3);
        assert_eq!(over.len(), 200 - 121, "30 days have 120 periods and a beginning");
        // After a long pause only the new one is young: three stay.
        let over = expired(&all, "d-199", now + 400 * 24 * hour, 30 * 24 * hour, 3);
        assert_eq!(over.len(), 197);
    }
}
