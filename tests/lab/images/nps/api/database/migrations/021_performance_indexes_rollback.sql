DROP INDEX sessions_user;
DROP INDEX findings_created;
INSERT INTO migration_runs (name) VALUES ('021_performance_indexes_rollback');
