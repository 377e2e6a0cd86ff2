ALTER TABLE oracle_readings ADD COLUMN channel text NOT NULL DEFAULT 'web';
INSERT INTO migration_runs (name) VALUES ('022_reading_channel');
