ALTER TABLE oracle_readings ADD COLUMN channel text NOT NULL DEFAULT 'web';
