ALTER TABLE users DROP COLUMN email, DROP COLUMN active;
INSERT INTO migration_runs (name) VALUES ('014_user_management_rollback');
