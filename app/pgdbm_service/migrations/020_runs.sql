-- "digest" is that of the options and the files: a request with the digest of an active run joins that. "bundle" has
-- the files. "traceparent" is the W3C trace context of the request. A run of several modules has the module '*', no
-- bundle and no schemas, but children.
CREATE TABLE {{tables.runs}} (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    module text NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    options jsonb NOT NULL,
    digest text NOT NULL,
    bundle text,
    created_by text NOT NULL,
    request_id text,
    traceparent text,
    retry_of uuid,
    replica uuid,
    attempts integer NOT NULL DEFAULT 0,
    canary_passed boolean,
    events bigint NOT NULL DEFAULT 0,
    result jsonb,
    problem jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    cancel_requested_at timestamptz,
    ended_at timestamptz
);
CREATE UNIQUE INDEX runs_active ON {{tables.runs}} (module, digest) WHERE status IN ('queued', 'running');
CREATE INDEX runs_of_module ON {{tables.runs}} (module, number DESC);
CREATE INDEX runs_ended_at ON {{tables.runs}} (ended_at) WHERE ended_at IS NOT NULL;

-- A run in one of its schemas. The schemas of a chunk are one item of the queue. "replica" works on it, for the
-- "attempts"-th time: only the newest attempt may say that it failed. "deaths" counts replicas that died during an
-- attempt since something was last applied. "pending" is what the first attempt found: what of it is applied in the end was
-- applied by the run, even if a replica dies. "summarized": the module's summaries show how it ended.
CREATE TABLE {{tables.run_schemas}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    schema text NOT NULL,
    position integer NOT NULL,
    chunk integer NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'not_reached')),
    attempts integer NOT NULL DEFAULT 0,
    deaths integer NOT NULL DEFAULT 0,
    replica uuid,
    backend_pid integer,
    pending text[],
    progress jsonb,
    skipped integer,
    total integer,
    total_time_ms double precision,
    problem jsonb,
    summarized boolean NOT NULL DEFAULT false,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (run, schema)
);
CREATE INDEX run_schemas_in_order ON {{tables.run_schemas}} (run, position);
CREATE INDEX run_schemas_unfinished ON {{tables.run_schemas}} (run, chunk, position)
    WHERE status IN ('queued', 'running');
CREATE INDEX run_schemas_running ON {{tables.run_schemas}} (replica) WHERE status = 'running';

-- The migrations that a run applied: which run a row of a history comes from.
CREATE TABLE {{tables.run_steps}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    schema text NOT NULL,
    filename text NOT NULL,
    module text NOT NULL,
    position integer NOT NULL,
    execution_time_ms integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, schema, filename)
);
CREATE INDEX run_steps_of_file ON {{tables.run_steps}} (module, schema, filename, applied_at DESC);

-- Numbers count within the run, without gaps and in the order of the commits: a client that has read up to one of them
-- has missed nothing before it.
CREATE TABLE {{tables.run_events}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    number bigint NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, number)
);

-- Which run an Idempotency-Key of a principal led to. "request" is the digest of the request that it was sent with.
CREATE TABLE {{tables.run_keys}} (
    principal text NOT NULL,
    key text NOT NULL,
    request text NOT NULL,
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    PRIMARY KEY (principal, key)
);
CREATE INDEX run_keys_of_run ON {{tables.run_keys}} (run);

-- The modules of a run of several, migrated one after the other. "bundle" has the files that the replica had that was
-- asked; without one, "problem" says why it could not be read. "child" is the module's own run, null if nothing was
-- pending; "result" is copied from it, as its row may be pruned before this one.
CREATE TABLE {{tables.run_children}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    position integer NOT NULL,
    module text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'not_reached')),
    options jsonb NOT NULL DEFAULT '{}',
    bundle text,
    problem jsonb,
    child uuid,
    result jsonb,
    PRIMARY KEY (run, position)
);
CREATE INDEX run_children_running ON {{tables.run_children}} (child) WHERE status = 'running';
