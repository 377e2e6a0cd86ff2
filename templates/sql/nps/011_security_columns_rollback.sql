ALTER TABLE users DROP COLUMN failed_logins, DROP COLUMN locked_until;
