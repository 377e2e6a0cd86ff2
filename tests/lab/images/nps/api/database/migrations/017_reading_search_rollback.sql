ALTER TABLE oracle_readings DROP COLUMN search;
INSERT INTO migration_runs (name) VALUES ('017_reading_search_rollback');
