DROP TRIGGER oracle_users_updated ON oracle_users;
DROP INDEX oracle_readings_created;
INSERT INTO migration_runs (name) VALUES ('010_oracle_schema_rollback');
