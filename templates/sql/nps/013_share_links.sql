CREATE TABLE share_links (token text PRIMARY KEY, reading_id bigint NOT NULL REFERENCES oracle_readings, expires_at timestamptz);
