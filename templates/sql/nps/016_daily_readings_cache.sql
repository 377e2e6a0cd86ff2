CREATE TABLE daily_readings (day date PRIMARY KEY, body text NOT NULL);
