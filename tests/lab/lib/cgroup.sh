# shellcheck shell=bash
# A cgroup of its own for each host, in every hierarchy. Without it all hosts would share the machine's root cgroup, where
# one host's ssh.service is another's; with it, every process of a host can be found and killed by name.

CGROUPS=/sys/fs/cgroup

cgroup_version() { if [[ $(stat -fc %T $CGROUPS) == cgroup2fs ]]; then echo 2; else echo 1; fi; }

cgroup_has() {
    case $(cgroup_version) in
    1) [[ -e $CGROUPS/$1/cgroup.procs ]] ;;
    2) grep -qw "$1" $CGROUPS/cgroup.controllers ;;
    esac
}

# The folders that hold cgroups of the whole hierarchy.
cgroup_roots() {
    if [[ $(cgroup_version) == 2 ]]; then echo $CGROUPS; else dirname $CGROUPS/*/cgroup.procs; fi
}

# cgroup_join HOST: moves the calling (sub)shell into the host's cgroups.
cgroup_join() {
    local root dir file
    for root in $(cgroup_roots); do
        dir=$root/$NAME-$1
        mkdir -p "$dir"
        # A new v1 cpuset is empty and takes no process until it is given processors and memory.
        for file in cpuset.cpus cpuset.mems; do
            [[ ! -w $dir/$file || $(cgroup_version) == 2 ]] || cat "$root/$file" >"$dir/$file"
        done
        echo "$BASHPID" >"$dir/cgroup.procs"
    done
}

cgroup_pids() {
    local root
    for root in $(cgroup_roots); do
        find "$root/$NAME-$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
    done | grep -vx 0 | sort -u
}

cgroup_kill_once() {
    local pids
    mapfile -t pids < <(cgroup_pids "$1")
    ((${#pids[@]})) || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    return 1
}

# cgroup_kill HOST: nothing of the host runs afterwards.
cgroup_kill() {
    local root
    await 20 "the processes of $1 to end" cgroup_kill_once "$1"
    for root in $(cgroup_roots); do
        [[ ! -d $root/$NAME-$1 ]] || find "$root/$NAME-$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

# The hosts of this lab that have a cgroup, known by nothing but their names.
cgroup_hosts() {
    local root
    for root in $(cgroup_roots); do
        find "$root" -maxdepth 1 -type d -name "$NAME-*" -printf '%f\n'
    done | sed "s/^$NAME-//" | sort -u
}
