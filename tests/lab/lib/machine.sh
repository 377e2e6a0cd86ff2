# shellcheck shell=bash
# What the lab needs from the machine it runs on.

# command:package
MACHINE_NEEDS=(mmdebstrap:mmdebstrap systemd-nspawn:systemd-container ip:iproute2 nft:nftables ssh:openssh-client
    jq:jq flock:util-linux curl:curl)

machine_missing() {
    local need
    for need in "${MACHINE_NEEDS[@]}"; do
        command -v "${need%%:*}" >/dev/null || echo "${need#*:}"
    done
}

machine_install() {
    need_root
    local missing
    mapfile -t missing < <(machine_missing)
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# All hosts share one kernel, and each systemd, dockerd and sshd of them one root user: the usual 128 inotify instances are
# used up by some fifteen hosts. Only ever raised.
machine_tune() {
    local limit
    for limit in max_user_instances:8192 max_user_watches:1048576; do
        local file=/proc/sys/fs/inotify/${limit%%:*}
        (($(<"$file") >= ${limit#*:})) || echo "${limit#*:}" >"$file" 2>/dev/null || say "cannot raise $file"
    done
}

# Says plainly what is in the way, one line each; exit 3 when anything is.
machine_doctor() {
    local problems=() missing probe
    no() { problems+=("$*"); }

    [[ $EUID == 0 ]] || no "not root: namespaces, mounts and nspawn need it"
    [[ -e /etc/debian_version ]] || no "not Debian: the tree is built from this machine's Debian mirror"
    mapfile -t missing < <(machine_missing)
    ((${#missing[@]} == 0)) || no "packages missing: ${missing[*]} (run: lab install)"

    if ((EUID == 0)); then
        if command -v ip >/dev/null; then
            probe=hf-doctor-$$
            if ip netns add "$probe" 2>/dev/null; then ip netns del "$probe"; else no "cannot make network namespaces"; fi
        fi
        mkdir -p "$CACHE"
        probe=$(mktemp -d "$CACHE/doctor.XXXXXX")
        mkdir "$probe"/{lower,upper,work,root}
        if mount -t overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" hf-doctor "$probe/root" 2>/dev/null
        then umount "$probe/root"; else no "cannot mount an overlay in $CACHE"; fi
        rm -rf "$probe"
        (($(df --output=avail -k "$CACHE" | tail -n1) > 6 * 1024 * 1024)) || no "less than 6 GiB free in $CACHE"
    fi
    local controller
    for controller in cpu memory pids; do
        cgroup_has "$controller" || no "cgroup controller $controller is not mounted: dockerd would refuse limits"
    done

    ((${#problems[@]})) || { echo "this machine can run the lab (cgroup v$(cgroup_version))"; return 0; }
    printf 'cannot run the lab: %s\n' "${problems[@]}"
    return 3
}
