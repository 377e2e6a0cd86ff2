"""Stands in for a service that Debian has no package of: answers its health endpoint, and nothing else.

STANDIN_NAME    what it pretends to be, e.g. "qdrant"
STANDIN_LISTEN  ports, e.g. "6333,6334"
STANDIN_PATHS   what it answers with 200, e.g. "/healthz=healthz check passed,/readyz=ok"; anything else is 404.
                Where an answer has commas in it, each stands on a line of its own
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("STANDIN_NAME", "standin")
PORTS = [int(port) for port in os.environ.get("STANDIN_LISTEN", "8080").split(",")]
_PATHS = os.environ.get("STANDIN_PATHS", "/health=ok")
PATHS = dict(item.partition("=")[::2] for item in _PATHS.split("\n" if "\n" in _PATHS else ","))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = NAME
    wbufsize = -1  # one packet per answer: two would wait for each other (Nagle)

    def do_GET(self):
        body = PATHS.get(self.path.partition("?")[0])
        self.send_response(404 if body is None else 200)
        data = ("not found" if body is None else body).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


servers = [ThreadingHTTPServer(("", port), Handler) for port in PORTS]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"{NAME} stand-in on {PORTS}", flush=True)
signal.pause()
