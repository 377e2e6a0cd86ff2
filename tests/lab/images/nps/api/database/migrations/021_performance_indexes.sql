CREATE INDEX findings_created ON findings (created_at);
CREATE INDEX sessions_user ON sessions (user_id);
INSERT INTO migration_runs (name) VALUES ('021_performance_indexes');
