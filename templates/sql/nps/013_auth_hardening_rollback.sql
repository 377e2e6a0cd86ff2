ALTER TABLE sessions DROP COLUMN token_hash, DROP COLUMN revoked_at;
