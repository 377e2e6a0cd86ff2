ALTER TABLE telegram_links ADD COLUMN daily boolean NOT NULL DEFAULT true;
