-- What ended badly is rare: found among a million runs without a look at each. No step pays for it,
-- since a commit of a step leaves the status alone. Written with OR, because a statement that asks
-- for one of these words is then known to be covered.
CREATE INDEX runs_rare ON runs (status, created DESC, run_id)
    WHERE status = 'failed' OR status = 'cancelled' OR status = 'quarantined';

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
