ALTER TABLE sessions ADD COLUMN token_hash text, ADD COLUMN revoked_at timestamptz;
INSERT INTO migration_runs (name) VALUES ('013_auth_hardening');
