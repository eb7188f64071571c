-- Who logs in to the database, made by the postgres image when its volume is new (psql runs this as superuser).
-- What the three roles without login may do is the migrations' to say; the owner alone may change the schema.

-- A password stands in one place, the address that its process is given: postgresql://user:PASSWORD@host:port/database
\set owner `cut -d: -f3 /run/secrets/owner_database_url | cut -d@ -f1`
\set tracker `cut -d: -f3 /run/secrets/tracker_database_url | cut -d@ -f1`
\set api `cut -d: -f3 /run/secrets/api_database_url | cut -d@ -f1`

CREATE ROLE claimpath_tracker NOLOGIN;
CREATE ROLE claimpath_reader NOLOGIN;
CREATE ROLE claimpath_operator NOLOGIN;
CREATE ROLE claimpath_owner LOGIN PASSWORD :'owner';
CREATE ROLE claimpath_tracker_login LOGIN PASSWORD :'tracker' IN ROLE claimpath_tracker;
CREATE ROLE claimpath_api_login LOGIN PASSWORD :'api' IN ROLE claimpath_reader;

GRANT claimpath_tracker, claimpath_reader, claimpath_operator TO claimpath_owner WITH ADMIN OPTION;
ALTER DATABASE claimpath OWNER TO claimpath_owner;
