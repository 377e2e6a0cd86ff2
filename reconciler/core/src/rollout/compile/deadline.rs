//! How long each kind of step may take: its own configured time plus a margin for a slow machine.

use holdfast_protocol::{HealthCheck, Probe, SwitchMethod};

/// For a step that only touches files or asks a quick question.
pub(super) const QUICK_MS: u64 = 30_000;
/// `systemctl start` and `stop` wait for the unit's own limits (90 s by default). The host adds a unit's `TimeoutStopSec=`.
pub(super) const UNIT_MS: u64 = 200_000;
/// `nginx -t` with many sites, and leaving workers of a busy server.
pub(super) const NGINX_MS: u64 = 60_000;
/// Pulling images over a slow line.
pub(super) const IMAGES_MS: u64 = 900_000;
/// `docker compose up` of large projects. The host adds the time that containers have to stop in.
pub(super) const COMPOSE_MS: u64 = 300_000;
/// A database server may have to start first, and tables may be large.
pub(super) const DATABASES_MS: u64 = 180_000;
/// Unpacking static files, or removing them, on a slow disk.
pub(super) const UNPACK_MS: u64 = 300_000;
/// What is added to configured times.
pub(super) const MARGIN_MS: u64 = 30_000;

/// Returns the time for stopping containers. What containers want for themselves is known on the host, which adds it.
pub(super) fn stop(grace_ms: Option<u64>) -> u64 {
    grace_ms.unwrap_or(0).saturating_add(MARGIN_MS)
}

/// Returns the time for `docker compose down`, which stops one service after the other where they depend on each other.
pub(super) fn down(grace_ms: Option<u64>) -> u64 {
    grace_ms.unwrap_or(0).saturating_add(COMPOSE_MS)
}

/// Returns the longest time a check can need to pass or to fail.
pub(super) fn health(check: &HealthCheck) -> u64 {
    let rounds = u64::from(check.retries) + u64::from(check.passes);
    // Replicas are asked one after another.
    let asked = if let Probe::All(all) = &check.probe { all.len() as u64 } else { 1 };
    check
        .start_period_ms
        .saturating_add(rounds.saturating_mul(check.interval_ms.saturating_add(check.timeout_ms.saturating_mul(asked))))
        .saturating_add(check.min_healthy_ms)
        .saturating_add(MARGIN_MS)
}

/// Returns the time for a backup: the dump may take all of its own, and so may reading it to its end.
pub(super) fn backup(timeout_ms: u64) -> u64 {
    timeout_ms.saturating_mul(2).saturating_add(MARGIN_MS)
}

/// Returns the time for so many smoke tests: three tries each.
pub(super) fn smoke(requests: usize) -> u64 {
    QUICK_MS.saturating_mul(requests as u64).saturating_add(MARGIN_MS)
}

/// Returns the time for a switch.
pub(super) fn switch(method: SwitchMethod) -> u64 {
    match method {
        SwitchMethod::Redirect => QUICK_MS,
        SwitchMethod::Reload => NGINX_MS,
    }
}
