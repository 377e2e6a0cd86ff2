ALTER TABLE oracle_readings DROP COLUMN framework;
INSERT INTO migration_runs (name) VALUES ('012_framework_alignment_rollback');
