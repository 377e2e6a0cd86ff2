# shellcheck shell=bash
# The ground the other parts stand on: names, paths, messages, locks and waiting.

CACHE=${HOLDFAST_LAB_CACHE:-/var/cache/holdfast-lab}
STATE_ROOT=${HOLDFAST_LAB_STATE:-/run/holdfast-lab}
LAB_ID=${LAB_ID:-default}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Interface names hold 15 bytes; with prefix and number a lab's id may fill seven of them.
[[ $LAB_ID =~ ^[a-z0-9]{1,7}$ ]] || die "LAB_ID must match [a-z0-9]{1,7}, not '$LAB_ID'"

# shellcheck disable=SC2034 # these three are for the other parts
# Everything the kernel knows about this lab carries this prefix, so that `down` can find it with no state left.
NAME=hf-$LAB_ID
STATE=$STATE_ROOT/$LAB_ID
# Disks live beside the tree, not under /run: that is a small tmpfs on most machines, and seeds are hard-linked.
DISKS=$CACHE/disks/$LAB_ID

need_root() { [[ $EUID == 0 ]] || die "needs root"; }

# await SECONDS WHAT COMMAND...: until the command succeeds; fails at the deadline.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || { say "gave up waiting for $what"; return 1; }
        sleep 0.05
    done
}

# Locks are held on fixed descriptors, which every process that outlives this one must not inherit: `8>&- 9>&-`.
lock_lab()   { mkdir -p "$STATE_ROOT"; exec 8>"$STATE_ROOT/$LAB_ID.lock"; flock -w 900 8 || die "lab $LAB_ID is busy"; }
lock_cache() { mkdir -p "$CACHE"; exec 9>"$CACHE/$1.lock"; flock -w 1800 9 || die "$1 in the cache is busy"; }
unlock_cache() { exec 9>&-; }

# process_stamp PID: its start time, which tells it from a later process with the same number. A zombie counts as dead: it
# runs nothing any more, and when it disappears is up to its parent.
process_stamp() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    awk '$1 ~ /[ZX]/ { exit 1 } { print $20 }' <<<"${stat##*) }"
}
process_alive() { [[ ${1:-} && ${2:-} && $(process_stamp "$1") == "$2" ]]; }
