-- The guide's own way.
\i seed.sql
