-- What a projection has beside the tables of a storage. One row: where the runs are, and how far the
-- last whole pass came; `upto` and `compared` are times of the source, null before the first.
CREATE TABLE projection (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    source   TEXT NOT NULL,
    upto     REAL,
    compared REAL
);

-- What a pass asks by, and who looks at runs; a storage of runs has none of it, to commit faster.
CREATE INDEX projected_by_status ON runs (status, created DESC, run_id);
