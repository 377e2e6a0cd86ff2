ALTER TABLE telegram_links DROP COLUMN daily;
INSERT INTO migration_runs (name) VALUES ('020_telegram_daily_preferences_rollback');
