"""Serves the app; ends without dropping a request.

uvicorn closes idle keep-alive connections at SIGTERM, just when a proxy may be sending the next request on one. This server
first answers for a while with `Connection: close`, and ends when no connection is left.
"""

import signal
import time

import uvicorn
from uvicorn.supervisors import Multiprocess

from . import metrics, settings


class DrainingServer(uvicorn.Server):
    drain_until: float | None = None

    def handle_exit(self, sig, frame):
        if sig != signal.SIGTERM or metrics.draining:
            return super().handle_exit(sig, frame)
        metrics.draining = True
        self.drain_until = time.monotonic() + settings.DRAIN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        if self.drain_until is not None and (not self.server_state.connections or time.monotonic() > self.drain_until):
            return True
        return await super().on_tick(counter)


def main() -> None:
    config = uvicorn.Config(
        "src.app.main:app", host="0.0.0.0", port=8000, workers=settings.WORKERS, log_level=settings.LOG_LEVEL,
        access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=60,
    )
    server = DrainingServer(config)
    if settings.WORKERS == 1:
        server.run()
    else:
        Multiprocess(config, target=server.run, sockets=[config.bind_socket()]).run()


if __name__ == "__main__":
    main()
