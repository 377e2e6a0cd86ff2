ALTER TABLE telegram_links ADD COLUMN daily boolean NOT NULL DEFAULT true;
INSERT INTO migration_runs (name) VALUES ('020_telegram_daily_preferences');
