CREATE INDEX oracle_readings_created ON oracle_readings (created_at);
CREATE TRIGGER oracle_users_updated BEFORE UPDATE ON oracle_users FOR EACH ROW EXECUTE FUNCTION update_updated_at();
