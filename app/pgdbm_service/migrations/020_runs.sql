-- A run is a row before it is anything else. "digest" is of what was asked for, and of the files that it is for: a
-- second call with the same digest joins the run that is under way.
CREATE TABLE {{tables.runs}} (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    module text NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    wishes jsonb NOT NULL,
    digest text NOT NULL,
    bundle text NOT NULL,
    caller text NOT NULL,
    request_id text,
    retry_of uuid,
    instance uuid,
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
CREATE UNIQUE INDEX runs_under_way ON {{tables.runs}} (module, digest) WHERE status IN ('queued', 'running');
CREATE INDEX runs_of_module ON {{tables.runs}} (module, number DESC);
CREATE INDEX runs_ended_at ON {{tables.runs}} (ended_at) WHERE ended_at IS NOT NULL;

-- A run in one of its schemas. Schemas of one chunk are one item of the queue. "instance" and "attempts" say who is at
-- it, and for the how manieth time: only the newest attempt may say that it failed. "pending" is what the first one
-- found to do: what of it is applied in the end is what the run applied, whoever died meanwhile.
CREATE TABLE {{tables.run_schemas}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    schema text NOT NULL,
    position integer NOT NULL,
    chunk integer NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'not_reached')),
    attempts integer NOT NULL DEFAULT 0,
    instance uuid,
    backend_pid integer,
    pending text[],
    progress jsonb,
    skipped integer,
    total integer,
    total_time_ms double precision,
    problem jsonb,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (run, schema)
);
CREATE INDEX run_schemas_in_order ON {{tables.run_schemas}} (run, position);
CREATE INDEX run_schemas_unfinished ON {{tables.run_schemas}} (run, chunk, position)
    WHERE status IN ('queued', 'running');
CREATE INDEX run_schemas_running ON {{tables.run_schemas}} (instance) WHERE status = 'running';

-- What a run applied: which run a row of a history comes from.
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

-- What happened, in order. Numbers count within the run, without gaps and in the order of the commits: whoever has
-- read up to one of them has missed nothing before it.
CREATE TABLE {{tables.run_events}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    number bigint NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, number)
);

-- Which run an Idempotency-Key of a caller led to.
CREATE TABLE {{tables.run_keys}} (
    caller text NOT NULL,
    key text NOT NULL,
    request text NOT NULL,
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    PRIMARY KEY (caller, key)
);
CREATE INDEX run_keys_of_run ON {{tables.run_keys}} (run);
