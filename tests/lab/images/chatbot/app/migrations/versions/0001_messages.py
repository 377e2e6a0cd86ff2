"""The messages. Not idempotent, on purpose: whoever runs it twice shall notice."""

from alembic import op

from src.app.migration import count

revision = "0001"
down_revision = None


def upgrade():
    op.execute("""
        CREATE TABLE migration_runs (
            revision text NOT NULL, direction text NOT NULL, release text NOT NULL, slot text NOT NULL,
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        )""")
    op.execute("""
        CREATE TABLE messages (
            id bigserial PRIMARY KEY, body text NOT NULL, client_ref text, release text NOT NULL, slot text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(), answered_at timestamptz, answered_by text
        )""")
    count(revision, "upgrade")


def downgrade():
    op.execute("DROP TABLE messages")
    op.execute("DROP TABLE migration_runs")
