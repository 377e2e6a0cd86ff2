ALTER TABLE sessions ADD COLUMN token_hash text, ADD COLUMN revoked_at timestamptz;
