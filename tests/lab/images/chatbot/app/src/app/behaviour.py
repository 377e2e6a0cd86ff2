"""What differs from release to release."""

VERSION = "v1"


async def insert(db, message, identity) -> dict:
    """Stores a message; the answer's fields that only this release knows."""
    row = await db.fetchrow(
        "INSERT INTO messages (body, client_ref, release, slot) VALUES ($1, $2, $3, $4) RETURNING id",
        message.message, message.client_ref, identity["release"], identity["slot"],
    )
    return {"id": row["id"]}


def on_start() -> None:
    pass


def ailment() -> str | None:
    """Why this release calls itself sick."""
    return None
