"""The request metrics of the operations guide, and the header that ends keep-alive connections while draining."""

import time
from collections import Counter

counts: Counter = Counter()
seconds: Counter = Counter()
active = 0
draining = False


class Middleware:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        global active
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = 500

        async def watch(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if draining:
                    message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        active += 1
        start = time.monotonic()
        try:
            await self.app(scope, receive, watch)
        finally:
            active -= 1
            # The route's pattern, not the path: a path with an id in it would be a new series each time.
            path = getattr(scope.get("route"), "path", "other")
            counts[scope["method"], path, status] += 1
            seconds[scope["method"], path] += time.monotonic() - start


def render(db_active: int) -> str:
    lines = ["# TYPE http_requests_total counter"]
    lines += [f'http_requests_total{{method="{m}",path="{p}",status="{s}"}} {n}' for (m, p, s), n in sorted(counts.items())]
    lines += ["# TYPE http_request_duration_seconds_sum counter"]
    lines += [f'http_request_duration_seconds_sum{{method="{m}",path="{p}"}} {t:.6f}' for (m, p), t in sorted(seconds.items())]
    lines += ["# TYPE http_requests_active gauge", f"http_requests_active {active}"]
    lines += ["# TYPE db_connections_active gauge", f"db_connections_active {db_active}", ""]
    return "\n".join(lines)
