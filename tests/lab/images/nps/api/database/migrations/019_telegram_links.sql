CREATE TABLE telegram_links (chat_id bigint PRIMARY KEY, user_id uuid NOT NULL REFERENCES users);
INSERT INTO migration_runs (name) VALUES ('019_telegram_links');
