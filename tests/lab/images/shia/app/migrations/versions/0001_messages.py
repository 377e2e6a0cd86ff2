"""The messages. Not idempotent, on purpose: whoever runs it twice shall notice."""

from alembic import op

from app import migration

revision = "0001"
down_revision = None


def upgrade():
    migration.create_common()
    migration.create_records("messages")
    op.execute("CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE)")
    op.execute("INSERT INTO users (name) SELECT 'user-' || n FROM generate_series(1, 5) AS n")
    migration.count(revision, "upgrade")


def downgrade():
    op.execute("DROP TABLE users")
    op.execute("DROP TABLE messages")
    migration.drop_common()
