# shellcheck shell=bash
# One bridge per lab, one network namespace and veth pair per host. Hosts have no way out of the lab: no route, no DNS.

# The lab's subnet is 10.83.X.0/24. The bridge's own address is the record of X.
net_prefix() { ip -4 -o addr show dev "$NAME" 2>/dev/null | awk '{ sub(/\.1\/24$/, "", $4); print $4 }'; }

net_prefix_taken() { ip -4 -o addr | grep -q " inet ${1//./\\.}\." || [[ $(ip -4 route show root "$1.0/24") ]]; }

# net_up: the bridge, with a subnet no running lab and no other interface has.
net_up() {
    [[ -z $(net_prefix) ]] || return 0
    local n try prefix
    (
        flock -w 60 7 # two labs choosing at once
        ip link show dev "$NAME" &>/dev/null || ip link add "$NAME" type bridge
        n=$(cksum <<<"$LAB_ID")
        n=${n%% *}
        for ((try = 0; try < 256; try++)); do
            prefix=10.83.$(((n + try) % 256))
            net_prefix_taken "$prefix" || break
        done
        ((try < 256)) || die "no free subnet in 10.83.0.0/16"
        ip addr add "$prefix.1/24" dev "$NAME"
        ip link set "$NAME" up
    ) 7>"$STATE_ROOT/.subnets.lock"
}

# net_host_up HOST NUMBER: a fresh namespace, as after power came back.
net_host_up() {
    local host=$1 number=$2 ns=$NAME-$1 prefix x
    prefix=$(net_prefix)
    x=${prefix##*.}
    net_host_down "$host"
    ip netns add "$ns"
    # The MAC follows from the address: neighbours' ARP entries stay true when the host comes back.
    ip link add "hf$LAB_ID-$number" type veth peer name eth0 netns "$ns" \
        address "$(printf '02:48:46:00:%02x:%02x' "$x" "$number")"
    ip link set "hf$LAB_ID-$number" master "$NAME" up
    ip -n "$ns" link set lo up
    ip -n "$ns" addr add "$prefix.$number/24" dev eth0
    ip -n "$ns" link set eth0 up
}

net_host_down() {
    net_heal "$1"
    # The veth pair goes with the namespace, but not before the kernel gets to it: a new one needs the name now.
    ip -n "$NAME-$1" link del eth0 2>/dev/null || true
    ip netns del "$NAME-$1" 2>/dev/null || true
}

net_down() { ip link del "$NAME" 2>/dev/null || true; }

# net_cut HOST NUMBER: packets from and to the host's port 22 are dropped on the machine's end of the wire. There, the
# host cannot see it, and the management host of the lab is cut off just as this machine is.
net_cut() {
    local dev=hf$LAB_ID-$2
    net_heal "$1"
    nft -f - <<EOF
table netdev $NAME-$1 {
    chain from_host {
        type filter hook ingress device "$dev" priority 0;
        tcp sport 22 drop
    }
    chain to_host {
        type filter hook egress device "$dev" priority 0;
        tcp dport 22 drop
    }
}
EOF
}

net_heal() { nft delete table netdev "$NAME-$1" 2>/dev/null || true; }
