ALTER TABLE telegram_links DROP COLUMN daily;
