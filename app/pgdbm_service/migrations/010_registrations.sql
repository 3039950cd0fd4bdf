-- What other services have registered. A bundle is one immutable version of a module's files and settings, known by
-- its digest; its files are kept once, by the hash of what is in them. Unregistering leaves bundles where they are:
-- the former content of a file is what a change of it is shown against.
CREATE TABLE {{tables.file_contents}} (
    hash text PRIMARY KEY,
    checksum text NOT NULL,
    content text NOT NULL
);
-- By the checksum that the history tables hold.
CREATE INDEX file_contents_checksum ON {{tables.file_contents}} (checksum);

CREATE TABLE {{tables.bundles}} (
    digest text PRIMARY KEY,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE {{tables.bundle_files}} (
    digest text NOT NULL REFERENCES {{tables.bundles}},
    filename text NOT NULL,
    hash text NOT NULL REFERENCES {{tables.file_contents}},
    PRIMARY KEY (digest, filename)
);

-- The registered modules, each with the bundle that it has now.
CREATE TABLE {{tables.modules}} (
    name text PRIMARY KEY,
    digest text NOT NULL REFERENCES {{tables.bundles}},
    registered_at timestamptz NOT NULL DEFAULT now(),
    registered_by text NOT NULL
);

-- Every change of a registered module's bundle, the newest with the highest id.
CREATE TABLE {{tables.registrations}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    module text NOT NULL,
    digest text NOT NULL REFERENCES {{tables.bundles}},
    registered_at timestamptz NOT NULL DEFAULT now(),
    registered_by text NOT NULL
);
CREATE INDEX registrations_module ON {{tables.registrations}} (module, id);

-- One row, locked and counted up by whoever changes what is registered: replicas see by it that they have to look.
CREATE TABLE {{tables.registry_version}} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO {{tables.registry_version}} (version) VALUES (0);
