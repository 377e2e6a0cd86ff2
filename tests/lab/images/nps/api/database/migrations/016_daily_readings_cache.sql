CREATE TABLE daily_readings (day date PRIMARY KEY, body text NOT NULL);
INSERT INTO migration_runs (name) VALUES ('016_daily_readings_cache');
