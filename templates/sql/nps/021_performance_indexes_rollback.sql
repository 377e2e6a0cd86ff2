DROP INDEX sessions_user;
DROP INDEX findings_created;
