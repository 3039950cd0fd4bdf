-- What the history tables say, in short, so that lists over thousands of schemas need not read them. The histories
-- stay the truth: a summary is made anew after each migration of the service, and compared with them every so often.
--
-- Most schemas of a module look the same. A shape is what a history and its journal say of a module: which files are
-- applied, as [filename, checksum], and how attempts at others ended. Where a schema stands follows from its shape
-- and from the files that the module has now, so that new files need no new summaries.
CREATE TABLE {{tables.history_shapes}} (
    fingerprint text PRIMARY KEY,
    shape jsonb NOT NULL
);

CREATE TABLE {{tables.schema_summaries}} (
    module text NOT NULL,
    schema text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL REFERENCES {{tables.history_shapes}},
    checked_at timestamptz NOT NULL DEFAULT now(),
    last_run text,
    PRIMARY KEY (module, schema)
);
CREATE INDEX schema_summaries_shape ON {{tables.schema_summaries}} (module, fingerprint, schema);

-- One row: when some replica last began to compare all summaries with the histories, and when one was last through.
CREATE TABLE {{tables.reconciliation}} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    began_at timestamptz NOT NULL DEFAULT '-infinity',
    ended_at timestamptz
);
INSERT INTO {{tables.reconciliation}} DEFAULT VALUES;

-- The run that last migrated a module, in whichever of its schemas.
CREATE TABLE {{tables.last_runs}} (
    module text PRIMARY KEY,
    run text NOT NULL
);
