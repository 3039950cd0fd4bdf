-- What webhooks report of modules, for as long as it is so: one row for each. "schema" is empty where it concerns the
-- module in all of its schemas. With another "digest" it is another condition, which is reported again.
CREATE TABLE {{tables.module_conditions}} (
    module text NOT NULL,
    schema text NOT NULL,
    event text NOT NULL,
    digest text NOT NULL,
    data jsonb NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz,
    PRIMARY KEY (module, schema, event)
);

-- One row: when a replica last started to compare all schemas.
CREATE TABLE {{tables.drift_watch}} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO {{tables.drift_watch}} DEFAULT VALUES;
