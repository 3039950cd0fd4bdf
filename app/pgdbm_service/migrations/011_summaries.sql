-- Summaries of the history tables, so that lists over thousands of schemas need not read them. The histories remain
-- the truth: a summary is written after each migration by the service, and compared with its history periodically.
--
-- An applied set is what a history and its journal say of a module: which files are applied, as [filename, checksum],
-- and the last event of each other file. Most schemas of a module share one. The state of a schema follows from its
-- applied set and from the files that the module has now: new files need no new summaries.
CREATE TABLE {{tables.applied_sets}} (
    digest text PRIMARY KEY,
    content jsonb NOT NULL
);

CREATE TABLE {{tables.schema_summaries}} (
    module text NOT NULL,
    schema text COLLATE "C" NOT NULL,
    digest text NOT NULL REFERENCES {{tables.applied_sets}},
    checked_at timestamptz NOT NULL DEFAULT now(),
    last_run text,
    PRIMARY KEY (module, schema)
);
CREATE INDEX schema_summaries_digest ON {{tables.schema_summaries}} (module, digest, schema);

-- One row: when a replica last started to compare all summaries with the histories, and when one last finished.
CREATE TABLE {{tables.reconciliation}} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at timestamptz NOT NULL DEFAULT '-infinity',
    ended_at timestamptz
);
INSERT INTO {{tables.reconciliation}} DEFAULT VALUES;

-- The run that last migrated a module, in any of its schemas.
CREATE TABLE {{tables.last_runs}} (
    module text PRIMARY KEY,
    run text NOT NULL
);
