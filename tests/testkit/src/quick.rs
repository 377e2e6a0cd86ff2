//! An app that rolls out in two seconds: systemd units in two slots, nginx before them, a migration that can be counted.

/// Its file in the repository.
pub const APP: &str = "environments/prod/quick.yaml";

/// nginx's port on each host.
pub const PORT: u16 = 8100;

/// The name of its site.
pub const HOST: &str = "quick.example.net";

/// Where its migration writes `begin` and `end`, on the host that migrates.
pub const MIGRATIONS: &str = "srv/migrations";

/// The files of its repository but for the inventory.
pub const FILES: [(&str, &str); 6] = [
    ("holdfast.yaml", "format: 1\n"),
    (
        "environments/prod/environment.yaml",
        "\
hosts: { role: web }
sync: { mode: automatic, drift: report }
rollout: { canary: 1, max_unavailable: 1, all_or_nothing: true }
",
    ),
    (
        APP,
        "\
app: quick
release: v1
hosts: { role: web }
components:
  web:
    systemd: systemd/quick@.service.j2
    strategy: blue_green
    ports: { http: { blue: 8601, green: 8701 } }
    files:
      - { path: \"{{ dir }}/server.py\", template: files/server.py.j2 }
    healthcheck:
      http: { path: /health, json: { status: healthy } }
      interval: 100ms
      timeout: 2s
      retries: 40
      start_period: 10s
      passes: 2
      min_healthy_time: 200ms
    migrate:
      command:
        - /usr/bin/python3
        - -c
        - |
          import time
          log = open('/srv/migrations', 'a', buffering=1)
          log.write('begin\\n')
          time.sleep(0.2)
          log.write('end\\n')
      reversible: true
    watch: { window: 300ms, max_error_ratio: 1% }
    drain: { timeout: 2s }
    prove: { port: 8100, path: /health, host: quick.example.net, json: release, expect: release }
  edge:
    nginx: nginx/quick.conf.j2
    upstreams: { quick_web: web.http }
",
    ),
    (
        "templates/systemd/quick@.service.j2",
        "\
[Unit]
Description=quick {{ release }} in {{ slot }}

[Service]
ExecStart=/usr/bin/python3 {{ dir }}/server.py {{ port.http }} {{ release }} {{ slot }}

[Install]
WantedBy=multi-user.target
",
    ),
    (
        "templates/files/server.py.j2",
        "\
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, release, slot = int(sys.argv[1]), sys.argv[2], sys.argv[3]
BODY = json.dumps(dict(release=release, slot=slot, status=\"healthy\")).encode()


class Answer(BaseHTTPRequestHandler):
    protocol_version = \"HTTP/1.1\"
    wbufsize = 65536

    def do_GET(self):
        self.send_response(200)
        self.send_header(\"Content-Type\", \"application/json\")
        self.send_header(\"Content-Length\", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_POST(self):
        self.rfile.read(int(self.headers.get(\"Content-Length\", 0)))
        self.do_GET()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server((\"127.0.0.1\", port), Answer).serve_forever()
",
    ),
    (
        "templates/nginx/quick.conf.j2",
        "\
server {
    listen 8100;
    server_name quick.example.net;

    location / {
        proxy_pass http://quick_web;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Connection \"\";
    }
}
",
    ),
];
