-- What `count` reads, instead of the rows, and what `find` walks for a flow and a status. A commit
-- that leaves the status alone touches this index no more than the others.
CREATE INDEX runs_by_flow_and_status ON {schema}.runs (flow, status, created DESC, run_id);
