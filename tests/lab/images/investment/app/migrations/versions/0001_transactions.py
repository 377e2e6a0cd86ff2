"""Transactions and the stocks they are about. Not idempotent, on purpose: whoever runs it twice shall notice."""

from alembic import op

from app import migration

revision = "0001"
down_revision = None


def upgrade():
    migration.create_common()
    migration.create_records("transactions")
    op.execute("CREATE TABLE stocks (symbol text PRIMARY KEY, name text NOT NULL)")
    migration.count(revision, "upgrade")


def downgrade():
    op.execute("DROP TABLE stocks")
    op.execute("DROP TABLE transactions")
    migration.drop_common()
