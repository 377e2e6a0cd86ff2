CREATE INDEX findings_created ON findings (created_at);
CREATE INDEX sessions_user ON sessions (user_id);
