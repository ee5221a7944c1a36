-- A role for workers that may do everything with runs and nothing with tables. Run it with psql, as
-- the owner of the schema, after `sequential migrate`:
--
--   psql -v schema=sequential -v role=flows -f role.sql
--
-- Give the role its password, or another way to log in, yourself.

SELECT format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO :"role";
-- Which schema it is, and whose, is the owner's to say.
REVOKE INSERT, UPDATE, DELETE ON :"schema".meta FROM :"role";
-- Tables that a later migration adds.
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema"
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";

-- Behind a pooler (prepare=off) a worker sets nothing in its session, so the role has it.
ALTER ROLE :"role" SET statement_timeout = '10s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '30s';
