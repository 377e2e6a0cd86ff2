"""Configuration from the environment; NAME_FILE names a file that holds the value, as container secrets do."""

import os
import socket
import sys

_missing = []


def _read(name: str, default: str | None = None) -> str:
    if path := os.environ.get(f"{name}_FILE"):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().rstrip("\n")
        except OSError as error:
            sys.exit(f"{name}_FILE: {error}")
    value = os.environ.get(name, default)
    if not value:
        _missing.append(name)
        return ""
    return value


ENVIRONMENT = _read("ENVIRONMENT", "dev")
DATABASE_URL = _read("DATABASE_URL")
REDIS_URL = _read("REDIS_URL")
SECRET_KEY = _read("SECRET_KEY")
POOL_SIZE = int(_read("SQLALCHEMY_POOL_SIZE", "5"))
WORKERS = int(_read("WORKERS", "1"))
# How long keep-alive connections are still served after SIGTERM; below the ten seconds docker gives.
DRAIN_SECONDS = float(_read("DRAIN_SECONDS", "2"))
RELEASE = os.environ.get("RELEASE", "")
SLOT = os.environ.get("SLOT", "")
HOSTNAME = socket.gethostname()
LOG_LEVEL = {"dev": "debug", "prod": "warning"}.get(ENVIRONMENT, "info")

if ENVIRONMENT not in ("dev", "stage", "prod"):
    sys.exit(f"ENVIRONMENT must be dev, stage or prod, not {ENVIRONMENT!r}")
if _missing:
    sys.exit(f"not set: {', '.join(_missing)}")

# SQLAlchemy (migrations) wants the driver's name in the URL, asyncpg (the app) does not.
ASYNCPG_URL = DATABASE_URL.replace("+asyncpg", "", 1)
