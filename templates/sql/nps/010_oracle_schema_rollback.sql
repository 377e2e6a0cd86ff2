DROP TRIGGER oracle_users_updated ON oracle_users;
DROP INDEX oracle_readings_created;
