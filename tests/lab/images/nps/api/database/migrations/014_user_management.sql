ALTER TABLE users ADD COLUMN email text, ADD COLUMN active boolean NOT NULL DEFAULT true;
INSERT INTO migration_runs (name) VALUES ('014_user_management');
