-- Once for each database, as its superuser: what pgSTAC needs, who loads (landloom) and who only reads.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS unaccent;
CREATE ROLE pgstac_admin;
CREATE ROLE pgstac_read;
CREATE ROLE pgstac_ingest;
ALTER ROLE landloom CREATEROLE;
GRANT pgstac_admin, pgstac_read, pgstac_ingest TO landloom WITH ADMIN OPTION;
CREATE ROLE landloom_reader LOGIN IN ROLE pgstac_read;
