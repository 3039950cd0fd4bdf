-- For GET /runs with statuses that few runs have: without it, finding the few that failed reads all that succeeded.
CREATE INDEX runs_not_succeeded ON {{tables.runs}} (number DESC) WHERE status <> 'succeeded';
