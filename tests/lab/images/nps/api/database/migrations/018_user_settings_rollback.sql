DROP TABLE user_settings;
INSERT INTO migration_runs (name) VALUES ('018_user_settings_rollback');
