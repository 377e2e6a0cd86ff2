ALTER TABLE oracle_readings ADD COLUMN framework text NOT NULL DEFAULT 'v4';
INSERT INTO migration_runs (name) VALUES ('012_framework_alignment');
