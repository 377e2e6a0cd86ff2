DROP TABLE telegram_links;
INSERT INTO migration_runs (name) VALUES ('019_telegram_links_rollback');
