DROP TABLE share_links;
INSERT INTO migration_runs (name) VALUES ('013_share_links_rollback');
