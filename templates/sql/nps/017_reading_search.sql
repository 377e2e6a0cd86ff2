ALTER TABLE oracle_readings ADD COLUMN search tsvector GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED;
CREATE INDEX oracle_readings_search ON oracle_readings USING gin (search);
