-- Broken on purpose: its second statement names a table that is not there.
ALTER TABLE users ADD COLUMN email text;
ALTER TABLE no_such_table ADD COLUMN active boolean;
