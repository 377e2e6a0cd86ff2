-- The base schema of guide 001, for an empty database.
CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION pgcrypto;

CREATE FUNCTION update_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END $$;

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), username text NOT NULL UNIQUE, password_hash text NOT NULL,
    role text NOT NULL DEFAULT 'user', updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE api_keys (id bigserial PRIMARY KEY, user_id uuid NOT NULL REFERENCES users, key_hash text NOT NULL);
CREATE TABLE sessions (id bigserial PRIMARY KEY, user_id uuid NOT NULL REFERENCES users, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE findings (id bigserial PRIMARY KEY, body text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());

CREATE TABLE oracle_users (id bigserial PRIMARY KEY, name text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE oracle_readings (
    id bigserial PRIMARY KEY, body text NOT NULL, client_ref text, release text NOT NULL, slot text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE oracle_reading_users (
    reading_id bigint NOT NULL REFERENCES oracle_readings, user_id bigint NOT NULL REFERENCES oracle_users,
    PRIMARY KEY (reading_id, user_id)
);
CREATE TABLE oracle_audit_log (id bigserial PRIMARY KEY, action text NOT NULL, at timestamptz NOT NULL DEFAULT now());

CREATE TABLE schema_migrations (version text NOT NULL, name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());

CREATE TRIGGER users_updated BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at();
