DROP TABLE feedback;
INSERT INTO migration_runs (name) VALUES ('015_feedback_learning_rollback');
