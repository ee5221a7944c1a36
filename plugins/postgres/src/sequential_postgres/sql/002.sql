-- What transactional tools did, by idempotency key: a key is written in the transaction of the tool's
-- own writes. A row without a result is one whose tool ended the transaction itself.

CREATE TABLE {schema}.effects (
    key    text COLLATE "C" PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL,
    result bytea,
    at     timestamptz NOT NULL
);
-- What is walked to remove the oldest.
CREATE INDEX effects_by_age ON {schema}.effects (at);

-- What `due` walks for some flows: those of others, however many are due, are not looked at. Walked
-- for all flows is still `runs_due`.
CREATE INDEX runs_due_by_flow ON {schema}.runs (flow, wake, run_id) WHERE wake IS NOT NULL;
