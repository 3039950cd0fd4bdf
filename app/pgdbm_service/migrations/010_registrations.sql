-- What other services have registered. A bundle is an immutable version of a module's files and settings, identified
-- by its digest; its files are stored once, by the hash of their content. Bundles of unregistered modules stay: a
-- change of a file is shown against its previous content.
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

-- The registered modules, each with its current bundle.
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

-- One row. Every change of what is registered locks and increments it: replicas compare it with the version they read.
CREATE TABLE {{tables.registry_version}} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO {{tables.registry_version}} (version) VALUES (0);
