-- All runs but those that have completed: few among a million, found and counted without a look at
-- each. No step of an invocation pays for it, since its commit leaves the status alone; a claim and a
-- pause do, as they do for the wake. The flow is there to be counted by.
CREATE INDEX runs_rare ON runs (status, created DESC, run_id, flow) WHERE status <> 'completed';

-- Recorded tool calls by the hour that they were recorded in; `histogram` is JSON, by bucket.
CREATE TABLE rollups (
    hour      INTEGER NOT NULL,
    tool      TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    calls     INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    seconds   REAL NOT NULL,
    longest   REAL NOT NULL,
    histogram TEXT NOT NULL,
    PRIMARY KEY (hour, tool, outcome)
) WITHOUT ROWID;

-- One row. `until` is when steps were last looked at for them, `again` when they may be once more.
CREATE TABLE rolled (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    until REAL NOT NULL,
    again REAL NOT NULL
);
INSERT INTO rolled (one, until, again) VALUES (1, 0, 0);
