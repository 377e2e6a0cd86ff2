"""Documents and their embeddings. Not idempotent, on purpose: whoever runs it twice shall notice."""

from alembic import op

from app import migration

revision = "0001"
down_revision = None


def upgrade():
    migration.create_common()
    migration.create_records("documents")
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE TABLE embeddings (document_id bigint NOT NULL REFERENCES documents, embedding vector(3) NOT NULL)")
    migration.count(revision, "upgrade")


def downgrade():
    op.execute("DROP TABLE embeddings")
    op.execute("DROP EXTENSION vector")
    op.execute("DROP TABLE documents")
    migration.drop_common()
