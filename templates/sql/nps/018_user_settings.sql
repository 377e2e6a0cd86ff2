CREATE TABLE user_settings (user_id uuid PRIMARY KEY REFERENCES users, settings jsonb NOT NULL DEFAULT '{}');
