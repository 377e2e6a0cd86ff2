"""What is stored gets a channel. It only expands: the release before goes on writing without it."""

from alembic import op

from app import migration

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE transactions ADD COLUMN channel text NOT NULL DEFAULT 'web'")
    migration.count(revision, "upgrade")


def downgrade():
    op.execute("ALTER TABLE transactions DROP COLUMN channel")
    migration.count(revision, "downgrade")
