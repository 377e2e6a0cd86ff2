"""The oracle: `python -m oracle_service.server`. gRPC on 50052, /metrics on 9090."""

import os
import signal
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

from app import behaviour, database, oracle, settings

started = time.monotonic()
answered = 0
healthy = False


def read(request: bytes, context) -> bytes:
    global answered
    answered += 1
    return settings.RELEASE.encode()


def check(request: bytes, context) -> bytes:
    return oracle.SERVING if healthy else oracle.NOT_SERVING


def watch(request: bytes, context):
    last = None
    while context.is_active():
        if (now := check(request, context)) != last:
            yield now
            last = now
        time.sleep(0.2)


def look() -> None:
    """Healthy is who reaches the database, and is not sick by release."""
    global healthy
    while True:
        try:
            database.execute_now("SELECT 1")
            healthy = behaviour.ailment() is None
        except Exception as error:  # whatever the driver raises, the database is not there
            healthy = False
            print(f"database: {error}", file=sys.stderr, flush=True)
        if behaviour.CRASH_AFTER and time.monotonic() - started > behaviour.CRASH_AFTER:
            os._exit(1)
        time.sleep(1)


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self):
        body = (f"# TYPE oracle_readings_total counter\noracle_readings_total {answered}\n"
                f"# TYPE oracle_healthy gauge\noracle_healthy {int(healthy)}\n"
                f'# TYPE oracle_info gauge\noracle_info{{release="{settings.RELEASE}",slot="{settings.SLOT}"}} 1\n').encode()
        found = self.path == "/metrics"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main() -> None:
    time.sleep(behaviour.START_SECONDS)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    service, method = oracle.READ.strip("/").split("/")
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(read)}),
        grpc.method_handlers_generic_handler(oracle.HEALTH, {
            "Check": grpc.unary_unary_rpc_method_handler(check), "Watch": grpc.unary_stream_rpc_method_handler(watch),
        }),
    ))
    port = settings.read("ORACLE_GRPC_PORT", "50052")
    if not server.add_insecure_port(f"0.0.0.0:{port}"):
        sys.exit(f"port {port} is taken")
    metrics = ThreadingHTTPServer(("", int(settings.read("ORACLE_METRICS_PORT", "9090"))), Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    threading.Thread(target=look, daemon=True).start()
    server.start()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    print(f"oracle {settings.RELEASE} on {port}", flush=True)
    stopped.wait()
    server.stop(settings.DRAIN_SECONDS).wait()


main()
