ALTER TABLE sessions DROP COLUMN token_hash, DROP COLUMN revoked_at;
INSERT INTO migration_runs (name) VALUES ('013_auth_hardening_rollback');
