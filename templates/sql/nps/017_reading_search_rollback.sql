ALTER TABLE oracle_readings DROP COLUMN search;
