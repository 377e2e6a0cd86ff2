# shellcheck shell=bash
# A host: an overlay over the tree, a namespace, a cgroup, and systemd booted in it by nspawn.
#
#   $STATE/hosts/HOST/   number address disk root/ (mounted) pid leader console.log
#   $DISKS/HOST/         upper work docker containerd: what survives a power loss

# shellcheck disable=SC2153 # STATE and its like come from base.sh
BOOT_DEADLINE=60

host_dir()     { echo "$STATE/hosts/$1"; }
host_get()     { local f; f=$(host_dir "$1")/$2; [[ ! -e $f ]] || cat "$f"; }
host_set()     { printf '%s\n' "$3" >"$(host_dir "$1")/$2"; }
host_names()   { [[ ! -d $STATE/hosts ]] || find "$STATE/hosts" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V; }
host_exists()  { [[ -d $(host_dir "$1") ]]; }
host_known()   { host_exists "$1" || die "no host $1 in lab $LAB_ID"; }
# shellcheck disable=SC2046 # two words
host_running() { process_alive $(host_get "$1" pid); }

# host_create HOST NUMBER: its disk, with an identity of its own. Nothing runs yet.
host_create() {
    local host=$1 disk=$DISKS/$1 root
    mkdir -p "$(host_dir "$host")/root" "$disk"/{upper,work,docker,containerd}
    host_set "$host" number "$2"
    host_set "$host" address "$(net_prefix).$2"
    [[ ! $SEED ]] || images_seed_into "$SEED" "$disk/docker"
    host_mount "$host"
    root=$(host_dir "$host")/root
    echo "$host" >"$root/etc/hostname"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    # One key type is enough and quick to make.
    ssh-keygen -q -t ed25519 -N '' -C "root@$host" -f "$root/etc/ssh/ssh_host_ed25519_key"
    host_authorize "$root/root" 0
    host_authorize "$root/home/deploy" "$(stat -c %u "$root/home/deploy")"
    [[ $host != mgmt ]] || install -m 600 "$STATE/id_ed25519" "$root/root/.ssh/id_ed25519"
    # A masked unit, not a missing package: the test is then about a host that has docker and does not run it.
    [[ ! $NO_DOCKER ]] || ln -sf /dev/null "$root/etc/systemd/system/docker.service"
}

host_authorize() {
    install -d -m 700 -o "$2" -g "$2" "$1/.ssh"
    install -m 600 -o "$2" -g "$2" "$STATE/id_ed25519.pub" "$1/.ssh/authorized_keys"
}

host_mount() {
    local disk=$DISKS/$1 root
    root=$(host_dir "$1")/root
    mountpoint -q "$root" ||
        mount -t overlay -o "lowerdir=$(<"$STATE/tree"),upperdir=$disk/upper,workdir=$disk/work" "$NAME-$1" "$root"
}

# host_boot HOST: power on. Returns at once; host_await tells when it is up.
host_boot() {
    local host=$1 dir disk=$DISKS/$1 mode=() words=() pid
    dir=$(host_dir "$host")
    host_running "$host" && return 0
    cgroup_kill "$host" # whatever outlived its nspawn
    host_mount "$host"
    net_host_up "$host" "$(host_get "$host" number)"
    if [[ $(cgroup_version) == 1 ]]; then
        # systemd 257 takes v1 only when told so in both ways.
        mode=(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0)
        words=(SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0)
    else
        mode=(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1)
    fi
    # README.md says why each of these is there. setsid: a Ctrl-C at the lab is no power loss.
    (
        cgroup_join "$host"
        exec setsid env SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 "${mode[@]}" systemd-nspawn --quiet \
            --directory="$dir/root" --machine="$NAME-$host" --hostname="$host" --keep-unit --register=no \
            --network-namespace-path="/run/netns/$NAME-$host" \
            --capability=all --system-call-filter='@keyring bpf @mount @privileged' \
            --resolv-conf=off --timezone=off --link-journal=no \
            --bind="$disk/docker:/var/lib/docker" --bind="$disk/containerd:/var/lib/containerd" \
            --boot "${words[@]}"
    ) </dev/null >"$dir/console.log" 2>&1 8>&- 9>&- &
    pid=$!
    disown # its end is no news for this shell
    host_set "$host" pid "$pid $(process_stamp "$pid")"
}

# The host's systemd as this machine numbers it: the one process of nspawn's that is number 1 in its own namespace.
host_find_leader() {
    local pid child
    read -r pid _ < <(host_get "$1" pid)
    # shellcheck disable=SC2013 # one line of words
    for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
        if [[ $(awk '/^NSpid:/ { print $NF, NF }' "/proc/$child/status" 2>/dev/null) == "1 3" ]]; then
            host_set "$1" leader "$child"
            return 0
        fi
    done
    host_running "$1" || die "$1 died while booting: $(tail -n 3 "$(host_dir "$1")/console.log")"
    return 1
}

# host_exec HOST COMMAND...: inside the host, without its network or sshd: works on a host that is cut off.
host_exec() {
    local leader
    leader=$(host_get "$1" leader)
    [[ $leader ]] || die "$1 is not running"
    host_running "$1" || die "$1 is not running"
    shift
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd=/ -- \
        env -i HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Both ssh.service and docker.service tell systemd when they are ready, so "started" means that they answer.
host_started() {
    local state
    # --wait blocks until the boot is over; it fails while systemd does not listen yet.
    state=$(host_exec "$1" timeout "$BOOT_DEADLINE" systemctl is-system-running --wait 2>/dev/null) || true
    [[ $state == running || $state == degraded ]] || { host_running "$1" || die "$1 died while booting"; return 1; }
}

host_await() {
    local host=$1 units=(ssh.service)
    [[ -L $(host_dir "$host")/root/etc/systemd/system/docker.service ]] || units+=(docker.service)
    await 10 "$host to start" host_find_leader "$host"
    await "$BOOT_DEADLINE" "$host to boot" host_started "$host"
    host_exec "$host" systemctl is-active --quiet "${units[@]}" ||
        die "$host booted, but not all of ${units[*]} run: $(host_exec "$host" systemctl --failed --no-legend --plain)"
    await 10 "sshd of $host" timeout 2 bash -c "read -rn 4 x </dev/tcp/$(host_get "$host" address)/22 && [[ \$x == SSH- ]]"
}

# host_kill HOST: power loss. nspawn takes the host's systemd, and that takes everything else.
host_kill() {
    local pid
    if host_running "$1"; then
        read -r pid _ < <(host_get "$1" pid)
        kill -KILL "$pid"
    fi
    cgroup_kill "$1"
    net_host_down "$1"
}

# host_stop HOST: a clean shutdown.
host_off() { ! host_running "$1"; }
host_stop() {
    if host_running "$1"; then
        host_exec "$1" systemctl poweroff --no-block
        await "$BOOT_DEADLINE" "$1 to shut down" host_off "$1"
    fi
    host_kill "$1"
}

# host_remove HOST: power loss, then the disk goes too. Works by name alone.
host_remove() {
    local root
    root=$(host_dir "$1")/root
    host_kill "$1"
    while mountpoint -q "$root"; do umount "$root" || umount --lazy "$root"; done
    rm -rf "$(host_dir "$1")" "${DISKS:?}/$1"
}
