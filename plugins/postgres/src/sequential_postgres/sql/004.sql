-- What a pass of rollups reads: the stretches of the table that hold its hours. A step pays next to
-- nothing for it: it is about stretches of many rows, and those at the end are written by autovacuum.
CREATE INDEX steps_by_end ON {schema}.steps USING brin (ended) WITH (autosummarize = on);

-- Recorded tool calls by the hour that they were recorded in; `histogram` is JSON, by bucket.
CREATE TABLE {schema}.rollups (
    hour      bigint NOT NULL,
    tool      text COLLATE "C" NOT NULL,
    outcome   text COLLATE "C" NOT NULL,
    calls     bigint NOT NULL,
    attempts  bigint NOT NULL,
    seconds   double precision NOT NULL,
    longest   double precision NOT NULL,
    histogram text NOT NULL,
    PRIMARY KEY (hour, tool, outcome)
);

-- One row, which whoever makes a pass holds locked. `until` is when steps were last looked at for
-- rollups, `again` when they may be once more.
CREATE TABLE {schema}.rolled (
    one   integer PRIMARY KEY CHECK (one = 1),
    until double precision NOT NULL,
    again double precision NOT NULL
);
INSERT INTO {schema}.rolled (one, until, again) VALUES (1, 0, 0);

-- Spans that are no record, and lines of logs. `data` is JSON, as text: a jsonb refuses NUL.
CREATE TABLE {schema}.spans (
    trace   text COLLATE "C" NOT NULL,
    span    text COLLATE "C" NOT NULL,
    started double precision NOT NULL,
    ended   double precision NOT NULL,
    data    text NOT NULL,
    PRIMARY KEY (trace, span)
);
CREATE INDEX spans_by_end ON {schema}.spans (ended);

CREATE TABLE {schema}.logs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace    text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL,
    time     double precision NOT NULL,
    data     text NOT NULL
);
CREATE INDEX logs_by_trace ON {schema}.logs (trace, time);
CREATE INDEX logs_by_time ON {schema}.logs (time);
