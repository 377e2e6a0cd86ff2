use crate::config::RolloutPolicy;
use crate::id::HostName;

/// Returns the hosts in the order they are taken: canaries first, then batches of `max_unavailable`.
///
/// The migrating host is always in the first wave, so that no other release of the new kind serves before its migration ran.
pub fn waves(order: &[HostName], migrating: Option<&HostName>, policy: &RolloutPolicy) -> Vec<Vec<HostName>> {
    let first = order.iter().filter(|host| migrating == Some(*host));
    let rest = order.iter().filter(|host| migrating != Some(*host));
    let hosts: Vec<HostName> = first.chain(rest).cloned().collect();
    let canary = (policy.canary as usize).min(hosts.len());
    let (canaries, rest) = hosts.split_at(canary);
    let batch = policy.max_unavailable.max(1) as usize;
    let canaries = (!canaries.is_empty()).then(|| canaries.to_vec());
    canaries.into_iter().chain(rest.chunks(batch).map(<[HostName]>::to_vec)).collect()
}
