"""Every migration counts its runs, so that a test can see one that ran twice."""

import os

import sqlalchemy as sa
from alembic import op

from . import settings


def count(revision: str, direction: str) -> None:
    op.get_bind().execute(
        sa.text("INSERT INTO migration_runs (revision, direction, release, slot) VALUES (:revision, :direction, :release, :slot)"),
        {"revision": revision, "direction": direction, "release": settings.RELEASE, "slot": settings.SLOT},
    )
    # For tests that kill a migration half way.
    op.get_bind().execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": float(os.environ.get("MIGRATION_SECONDS", "0"))})
