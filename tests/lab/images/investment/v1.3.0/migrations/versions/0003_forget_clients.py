"""IRREVERSIBLE: which client sent what is forgotten."""

from alembic import op

from app import migration

revision = "0003"
down_revision = "0002"


def upgrade():
    op.execute("UPDATE transactions SET client_ref = NULL")
    migration.count(revision, "upgrade")


def downgrade():
    raise NotImplementedError("0003 cannot be undone: what it deleted is in backups alone")
