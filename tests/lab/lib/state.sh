# shellcheck shell=bash
# What others read: hosts.json, ssh_config, known_hosts and the hosts' own /etc/hosts; and who owns a lab.

# state_create TREE: the lab's folder, key and owner.
state_create() {
    mkdir -p "$STATE/hosts" "$DISKS"
    [[ -e $STATE/id_ed25519 ]] || ssh-keygen -q -t ed25519 -N '' -C "lab-$LAB_ID" -f "$STATE/id_ed25519"
    # A lab keeps the tree it began with: its overlays would not survive another one below them.
    [[ -e $STATE/tree ]] || tree_path "$1" >"$STATE/tree"
    echo "$STATE" >"$DISKS/.state"
    [[ ! ${LAB_OWNER_PID:-} ]] || echo "$LAB_OWNER_PID $(process_stamp "$LAB_OWNER_PID")" >"$STATE/owner"
}

# Addresses from .11 on; the management host has .10.
state_free_number() {
    [[ $1 != mgmt ]] || { echo 10; return; }
    local number
    for ((number = 11; number < 255; number++)); do
        grep -qxs "$number" "$STATE"/hosts/*/number || { echo "$number"; return; }
    done
    die "no free address in the lab"
}

state_host_json() {
    local host=$1 root pid
    root=$(host_dir "$host")/root
    read -r pid _ < <(host_get "$host" pid) || true
    jq -n --arg name "$host" --arg address "$(host_get "$host" address)" \
        --arg host_key "$(cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub")" \
        --arg root "$root" --arg disk "$DISKS/$host" --arg netns "$NAME-$host" \
        --arg pid "${pid:-0}" --arg leader "$(host_get "$host" leader)" \
        --argjson running "$(host_running "$host" && echo true || echo false)" \
        '{$name, $address, port: 22, user: "root", $host_key, running: $running, $root, $disk, $netns,
          pid: ($pid | tonumber), leader: (($leader | tonumber?) // 0)}'
}

# state_write: all files again, from what is there. Renamed into place: a reader sees the old or the new.
state_write() {
    local host root hosts
    [[ -d $STATE/hosts ]] || return 0
    for host in $(host_names); do
        if [[ -e $(host_dir "$host")/root/etc/hostname ]]; then state_host_json "$host"; fi
    done | jq -s --arg lab "$LAB_ID" --arg gateway "$(net_prefix).1" --arg dir "$STATE" \
        '{$lab, $gateway, identity: ($dir + "/id_ed25519"), ssh_config: ($dir + "/ssh_config"),
          known_hosts: ($dir + "/known_hosts"), hosts: .}' >"$STATE/hosts.json.new"
    mv "$STATE/hosts.json.new" "$STATE/hosts.json"
    jq -r '.hosts[] | "\(.name),\(.address) \(.host_key)"' "$STATE/hosts.json" >"$STATE/known_hosts.new"
    mv "$STATE/known_hosts.new" "$STATE/known_hosts"
    jq -r '.identity as $key | .known_hosts as $known | .hosts[] |
        "Host \(.name)\n  HostName \(.address)\n  User \(.user)\n  IdentityFile \($key)\n  IdentitiesOnly yes
  UserKnownHostsFile \($known)\n  StrictHostKeyChecking yes\n"' "$STATE/hosts.json" >"$STATE/ssh_config.new"
    mv "$STATE/ssh_config.new" "$STATE/ssh_config"
    hosts=$(jq -r '"127.0.0.1 localhost", (.hosts[] | "\(.address) \(.name)")' "$STATE/hosts.json")
    for host in $(host_names); do
        root=$(host_dir "$host")/root
        mountpoint -q "$root" || continue
        # Without a line for its own name every sudo on the host would ask a name server that is not there.
        echo "$hosts" >"$root/etc/hosts"
        [[ $host != mgmt ]] || cp "$STATE/known_hosts" "$root/root/.ssh/known_hosts"
    done
}

# state_print [HOST...]: name, address, port, host key.
state_print() {
    jq -r '.hosts[] | select(.name | IN($ARGS.positional[])) | [.name, .address, .port, .host_key] | @tsv' \
        "$STATE/hosts.json" --args "$@"
}

state_status() {
    [[ -d $STATE ]] || { echo "no lab $LAB_ID"; return; }
    local host
    for host in $(host_names); do
        printf '%s\t%s\t%s\n' "$host" "$(host_get "$host" address)" "$(host_running "$host" && echo running || echo off)"
    done
}

# Every host of this lab that left a trace anywhere.
state_all_hosts() {
    {
        host_names
        cgroup_hosts
        [[ ! -d $DISKS ]] || find "$DISKS" -mindepth 1 -maxdepth 1 -type d -printf '%f\n'
        find /run/netns -maxdepth 1 -name "$NAME-*" -printf '%f\n' 2>/dev/null | sed "s/^$NAME-//"
    } | sort -u
}

# state_gc: labs whose owner died, and disks whose lab is gone (after a reboot).
state_gc() {
    need_root
    local path owner
    for path in "$STATE_ROOT"/*/owner; do
        [[ -e $path ]] || continue
        read -r -a owner <"$path"
        process_alive "${owner[@]}" || { path=${path%/owner}; say "removing lab ${path##*/}: its owner is gone"; LAB_ID=${path##*/} "$LAB_DIR/lab" down; }
    done
    for path in "$CACHE"/disks/*/.state; do
        [[ -e $path && ! -d $(<"$path") ]] || continue
        path=${path%/.state}
        say "removing the disks of lab ${path##*/}"
        LAB_ID=${path##*/} "$LAB_DIR/lab" down
    done
}
