# shellcheck shell=bash
# The ground the other parts stand on: names, paths, messages, locks and waiting.

CACHE=${HOLDFAST_LAB_CACHE:-/var/cache/holdfast-lab}
STATE_ROOT=${HOLDFAST_LAB_STATE:-/run/holdfast-lab}
LAB_ID=${LAB_ID:-default}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Interface names hold 15 bytes; with prefix and number a lab's id may fill seven of them.
[[ $LAB_ID =~ ^[a-z0-9]{1,7}$ ]] || die "LAB_ID must match [a-z0-9]{1,7}, not '$LAB_ID'"

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

# A process is told from a later one with the same number by its start time.
process_stamp() { local s; { s=$(<"/proc/$1/stat"); } 2>/dev/null || return 1; s=${s##*) }; awk "{ print \$20 }" <<<"$s"; }
process_alive() { [[ ${1:-} && ${2:-} && $(process_stamp "$1" 2>/dev/null) == "$2" ]]; }

# The hash of a recipe: of all files of a folder, by name and content.
hash_of() { (cd "$1" && find . -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16); }

# The Debian mirror this machine uses itself.
mirror() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v c="$codename" '$2 == c && $3 == "main" { print $1; exit }' | grep . || die "no Debian mirror in apt's sources"
}

# bootstrap DIR PACKAGES-FILE: a Debian 13 tree with these packages.
bootstrap() {
    # Documentation is a third of the files; without fsync dpkg is twice as fast, and a broken build is thrown away.
    mmdebstrap --quiet --variant=minbase --include="$(grep -v '^#' "$2" | paste -sd,)" \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        trixie "$1" "deb $(mirror) trixie main" 9>&- || die "building $1 failed"
    # What the build borrowed from this machine: its name server, name and mirror.
    rm -rf "$1"/etc/{resolv.conf,hostname,apt/sources.list} "$1"/etc/apt/apt.conf.d/*mmdebstrap "$1"/var/{lib/apt/lists,cache/apt,log}/*
}
