ALTER TABLE oracle_readings DROP COLUMN framework;
