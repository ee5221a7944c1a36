-- The first schema. Columns of runs are those that somebody searches by; all else is in `state`.

CREATE TABLE runs (
    run_id       TEXT PRIMARY KEY NOT NULL,
    generation   INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    op_id        TEXT NOT NULL,
    flow         TEXT NOT NULL,
    flow_version TEXT NOT NULL,
    status       TEXT NOT NULL,
    wake         REAL,
    tags         TEXT NOT NULL,
    parent       TEXT,
    created      REAL NOT NULL,
    ended        REAL,
    state        BLOB NOT NULL,
    -- When a sweeper last handed the run out; every commit clears it.
    nudged       REAL
);

-- What `due` walks: open runs that wait for a time, and ended ones until they are purged.
CREATE INDEX runs_due ON runs (wake, run_id) WHERE wake IS NOT NULL;

-- What `find` walks, newest first. None of these columns changes after creation, so a commit
-- leaves these indexes alone.
CREATE INDEX runs_newest ON runs (created DESC, run_id);
CREATE INDEX runs_by_flow ON runs (flow, created DESC, run_id);
CREATE INDEX runs_by_parent ON runs (parent, created DESC, run_id) WHERE parent IS NOT NULL;

-- Clustered by its key: a replay reads one stretch, and an append touches one page and the index
-- that keeps a position from being recorded twice.
CREATE TABLE steps (
    run_id      TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    position    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    tool        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    value       BLOB NOT NULL,
    input       BLOB,
    attempts    INTEGER NOT NULL,
    started     REAL NOT NULL,
    ended       REAL NOT NULL,
    fence       INTEGER NOT NULL,
    op_id       TEXT NOT NULL,
    v           INTEGER NOT NULL,
    PRIMARY KEY (run_id, generation, number),
    UNIQUE (run_id, generation, position)
) WITHOUT ROWID;

-- Values too large for a step record, by digest within their run.
CREATE TABLE stored_values (
    run_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    data   BLOB NOT NULL,
    PRIMARY KEY (run_id, digest)
);

-- The tags of runs once more, to search by.
CREATE TABLE tags (
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (key, value, run_id)
) WITHOUT ROWID;

-- One row. `time` is the highest time that this storage has told, to the second.
CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    deployment TEXT NOT NULL,
    time       REAL NOT NULL
);
