ALTER TABLE oracle_readings ADD COLUMN framework text NOT NULL DEFAULT 'v4';
