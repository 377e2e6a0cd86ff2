CREATE TABLE feedback (id bigserial PRIMARY KEY, reading_id bigint NOT NULL REFERENCES oracle_readings, score smallint NOT NULL);
