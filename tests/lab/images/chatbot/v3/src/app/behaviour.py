"""What differs from release to release: it starts, and is never well."""

VERSION = "v3"


async def insert(db, message, identity) -> dict:
    """Stores a message; the answer's fields that only this release knows."""
    row = await db.fetchrow(
        "INSERT INTO messages (body, client_ref, release, slot, channel) VALUES ($1, $2, $3, $4, 'api') RETURNING id, channel",
        message.message, message.client_ref, identity["release"], identity["slot"],
    )
    return {"id": row["id"], "channel": row["channel"]}


def on_start() -> None:
    pass


def ailment() -> str | None:
    """Why this release calls itself sick."""
    return "broken on purpose"
