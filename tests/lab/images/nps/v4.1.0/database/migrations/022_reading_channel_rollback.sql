ALTER TABLE oracle_readings DROP COLUMN channel;
INSERT INTO migration_runs (name) VALUES ('022_reading_channel_rollback');
