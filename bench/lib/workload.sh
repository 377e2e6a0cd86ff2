# shellcheck shell=bash
# The baseline's workload as a repository: for each host 30 templated files (130 KB), 5 units, 1 nginx site.

# repository FOLDER HOSTS_JSON COUNT: writes FOLDER/ops and FOLDER/manager.yaml for the first COUNT hosts of a lab.
repository() {
    local folder=$1 hosts=$2 count=$3 ops=$1/ops number line
    mkdir -p "$ops"/{inventory,environments/bench,templates/{files,systemd,nginx}}
    echo 'format: 1' >"$ops/holdfast.yaml"
    jq -r --argjson count "$count" '"hosts:", (.hosts[:$count][] |
        "  \(.name):\n    address: \(.address)\n    host_key: \(.host_key)\n    labels: { role: bench }")' "$hosts" >"$ops/inventory/hosts.yaml"
    cat >"$ops/environments/bench/environment.yaml" <<EOF
hosts: { role: bench }
sync: { mode: automatic, drift: report }
rollout: { canary: 0, max_unavailable: $count }
variables: { unit_word: one, site_word: one }
EOF
    {
        printf 'app: workload\nrelease: v1\ncomponents:\n  services:\n    strategy: in_place\n    systemd:\n'
        for number in 1 2 3 4 5; do echo "      - systemd/bench-$number.service.j2"; done
        printf '  config:\n    files:\n'
        for number in {01..30}; do
            echo "      - { path: /etc/bench/$number.conf, template: files/$number.j2, mode: \"0640\" }"
        done
        printf '  site:\n    nginx: nginx/bench.conf.j2\n'
    } >"$ops/environments/bench/workload.yaml"
    for number in {01..30}; do
        {
            printf '# file %s of {{ app }} on {{ host.name }}\nrelease = {{ release }}\n' "$number"
            for ((line = 0; line < 79; line++)); do echo "setting_${number}_$line = value of line $line, the same everywhere"; done
        } >"$ops/templates/files/$number.j2"
    done
    for number in 1 2 3 4 5; do
        cat >"$ops/templates/systemd/bench-$number.service.j2" <<EOF
[Unit]
Description=bench $number on {{ host.name }}$([ "$number" != 1 ] || echo ', {{ vars.unit_word }}')

[Service]
ExecStart=/usr/bin/sleep infinity

[Install]
WantedBy=multi-user.target
EOF
    done
    cat >"$ops/templates/nginx/bench.conf.j2" <<'EOF'
server {
    listen 8090;
    server_name bench.example.net;
    add_header X-Word {{ vars.site_word }};
    location / { return 204; }
}
EOF
    manager "$folder" "$hosts" bench
}

# service FOLDER HOSTS_JSON: a second environment, `switch`, on the first host: one app with slots behind nginx.
service() {
    local folder=$1 hosts=$2 ops=$1/ops
    mkdir -p "$ops"/{inventory,environments/switch,templates/{systemd,nginx}}
    echo 'format: 1' >"$ops/holdfast.yaml"
    jq -r '"hosts:", (.hosts[0] |
        "  \(.name):\n    address: \(.address)\n    host_key: \(.host_key)\n    labels: { role: switch }")' "$hosts" >"$ops/inventory/hosts.yaml"
    printf 'hosts: { role: switch }\nsync: { mode: manual }\n' >"$ops/environments/switch/environment.yaml"
    cat >"$ops/environments/switch/shop.yaml" <<'EOF'
app: shop
release: v1
components:
  web:
    systemd: systemd/shop@.service.j2
    strategy: blue_green
    ports: { http: { blue: 8601, green: 8701 } }
    healthcheck: { http: { path: / }, interval: 100ms, timeout: 2s, retries: 10, min_healthy_time: 200ms }
    watch: { window: 10s, max_error_ratio: 1% }
    drain: { timeout: 2s }
    keep_previous: 24h
    prove: { port: 8100, path: /, host: shop.example.net, json: release, expect: release }
  edge:
    nginx: nginx/shop.conf.j2
    upstreams: { shop: web.http }
EOF
    cat >"$ops/templates/systemd/shop@.service.j2" <<'EOF'
[Unit]
Description=shop {{ release }} in {{ slot }}

[Service]
ExecStart=/usr/local/bin/holdfast-bench-host serve {{ port.http }} {{ release }}

[Install]
WantedBy=multi-user.target
EOF
    cat >"$ops/templates/nginx/shop.conf.j2" <<'EOF'
server {
    listen 8100;
    server_name shop.example.net;
    access_log off;
    location / {
        proxy_pass http://shop;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}
EOF
    manager "$folder" "$hosts" switch
}

# manager FOLDER HOSTS_JSON ENVIRONMENT: commits the repository and configures a management box for it.
manager() {
    local folder=$1 hosts=$2 environment=$3
    cat >"$folder/manager.yaml" <<EOF
repository: $folder/ops
state_dir: $folder/state
runtime_dir: $folder/run
ssh: { identity: $(jq -r .identity "$hosts") }
environments:
  $environment: { branch: main }
EOF
    git -C "$folder/ops" init -q -b main
    commit "$folder" "the workload"
}

# commit FOLDER MESSAGE
commit() {
    git -C "$1/ops" add -A
    git -C "$1/ops" -c user.name=Bench -c user.email=bench@example.net commit -q -m "$2"
}
