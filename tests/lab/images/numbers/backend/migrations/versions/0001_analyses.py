"""Analyses. Not idempotent, on purpose: whoever runs it twice shall notice."""

from alembic import op

from app import migration

revision = "0001"
down_revision = None


def upgrade():
    migration.create_common()
    migration.create_records("analyses")
    migration.count(revision, "upgrade")


def downgrade():
    op.execute("DROP TABLE analyses")
    migration.drop_common()
