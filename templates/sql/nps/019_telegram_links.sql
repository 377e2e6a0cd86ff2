CREATE TABLE telegram_links (chat_id bigint PRIMARY KEY, user_id uuid NOT NULL REFERENCES users);
