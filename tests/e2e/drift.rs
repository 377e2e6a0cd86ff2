//! What a plan says about real hosts: drift, what git no longer has, what is somebody else's, what cannot be looked at.

mod changed;
mod daemon;
mod fleet;
mod foreign;
mod pruned;
mod stale;
mod unknown;

use fleet::Story;

// One boot for all of a test: each part ends with hosts that are as git says.

#[test]
#[ignore = "needs the lab"]
fn cap_06_a_plan_says_what_was_changed_by_hand_and_apply_puts_it_right() {
    let story = Story::begin("dri");
    changed::each_kind_of_drift_is_shown_explained_and_put_right(&story);
    changed::what_is_ignored_is_left_alone_by_plan_and_apply(&story);
    changed::only_the_units_that_change_are_listed(&story);
    stale::a_saved_plan_is_refused_when_anything_moved(&story);
}

#[test]
#[ignore = "needs the lab"]
fn cap_06_what_is_in_the_way_blocks_and_the_daemon_does_about_drift_what_it_was_told() {
    let story = Story::begin("drif");
    foreign::what_is_in_the_way_is_named_and_adopted_only_when_asked(&story);
    foreign::a_drop_in_blocks_until_somebody_decides(&story);
    foreign::a_broken_site_of_somebody_else_blocks_only_what_needs_nginx(&story);
    daemon::drift_is_off_reported_or_healed(&story);
}

#[test]
#[ignore = "needs the lab"]
fn cap_07_what_git_no_longer_has_goes_and_what_is_not_seen_stays() {
    let mut story = Story::begin("drip");
    pruned::what_git_no_longer_has_goes_and_nothing_else(&mut story);
    unknown::what_cannot_be_looked_at_is_never_a_change(&story);
}
