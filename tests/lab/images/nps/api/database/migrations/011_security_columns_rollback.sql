ALTER TABLE users DROP COLUMN failed_logins, DROP COLUMN locked_until;
INSERT INTO migration_runs (name) VALUES ('011_security_columns_rollback');
