ALTER TABLE users ADD COLUMN email text, ADD COLUMN active boolean NOT NULL DEFAULT true;
