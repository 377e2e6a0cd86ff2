"""What differs from release to release: it passes its health checks, and dies some seconds later."""

import asyncio
import os

VERSION = "v3crash"


async def insert(db, message, identity) -> dict:
    """Stores a message; the answer's fields that only this release knows."""
    row = await db.fetchrow(
        "INSERT INTO messages (body, client_ref, release, slot, channel) VALUES ($1, $2, $3, $4, 'api') RETURNING id, channel",
        message.message, message.client_ref, identity["release"], identity["slot"],
    )
    return {"id": row["id"], "channel": row["channel"]}


def on_start() -> None:
    seconds = float(os.environ.get("CRASH_AFTER_SECONDS", "6"))
    asyncio.get_running_loop().call_later(seconds, os._exit, 1)


def ailment() -> str | None:
    """Why this release calls itself sick."""
    return None
