-- The first schema. Columns of runs are those that somebody searches by; all else is in `state`.
-- {schema} stands for the quoted name of the schema. Texts are compared byte by byte everywhere.

CREATE TABLE {schema}.runs (
    run_id       text COLLATE "C" PRIMARY KEY,
    generation   bigint NOT NULL,
    version      bigint NOT NULL,
    op_id        text NOT NULL,
    flow         text COLLATE "C" NOT NULL,
    flow_version text NOT NULL,
    status       text COLLATE "C" NOT NULL,
    wake         double precision,
    tags         text NOT NULL,
    parent       text COLLATE "C",
    created      double precision NOT NULL,
    ended        double precision,
    state        bytea NOT NULL,
    -- When a sweeper last handed the run out; every commit clears it.
    nudged       double precision
-- Room on each page, so that a commit which changes no indexed column touches no index. Rows die
-- with every commit: a table of a few hot runs is vacuumed long before a fifth of it is dead.
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- What `due` walks: open runs that wait for a time, and ended ones until they are purged.
CREATE INDEX runs_due ON {schema}.runs (wake, run_id) WHERE wake IS NOT NULL;

-- What `find` walks, newest first. But for the status, none of these columns changes after creation.
CREATE INDEX runs_newest ON {schema}.runs (created DESC, run_id);
CREATE INDEX runs_by_flow ON {schema}.runs (flow, created DESC, run_id);
CREATE INDEX runs_by_status ON {schema}.runs (status, created DESC, run_id);
CREATE INDEX runs_by_parent ON {schema}.runs (parent, created DESC, run_id)
    WHERE parent IS NOT NULL;

CREATE TABLE {schema}.steps (
    run_id      text COLLATE "C" NOT NULL,
    generation  bigint NOT NULL,
    number      bigint NOT NULL,
    position    text COLLATE "C" NOT NULL,
    kind        text NOT NULL,
    tool        text NOT NULL,
    fingerprint text NOT NULL,
    outcome     text NOT NULL,
    value       bytea NOT NULL,
    input       bytea,
    attempts    bigint NOT NULL,
    started     double precision NOT NULL,
    ended       double precision NOT NULL,
    fence       bigint NOT NULL,
    op_id       text NOT NULL,
    v           bigint NOT NULL,
    PRIMARY KEY (run_id, generation, number),
    UNIQUE (run_id, generation, position)
);

-- Values too large for a step record, by digest within their run.
CREATE TABLE {schema}.stored_values (
    run_id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    data   bytea NOT NULL,
    PRIMARY KEY (run_id, digest)
);
-- They are large, and often compressed already.
ALTER TABLE {schema}.stored_values ALTER COLUMN data SET STORAGE EXTERNAL;

-- The tags of runs once more, to search by. A tag is the SHA-256 of its key and value: an index
-- holds no text of any length, and no NUL.
CREATE TABLE {schema}.tags (
    run_id  text COLLATE "C" NOT NULL,
    tag     bytea NOT NULL,
    created double precision NOT NULL,
    PRIMARY KEY (run_id, tag)
);
CREATE INDEX tags_newest ON {schema}.tags (tag, created DESC, run_id);

-- One row.
CREATE TABLE {schema}.meta (
    one        integer PRIMARY KEY CHECK (one = 1),
    deployment text NOT NULL,
    version    integer NOT NULL
);
