CREATE TABLE feedback (id bigserial PRIMARY KEY, reading_id bigint NOT NULL REFERENCES oracle_readings, score smallint NOT NULL);
INSERT INTO migration_runs (name) VALUES ('015_feedback_learning');
