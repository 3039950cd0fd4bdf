-- Categories of the shop, which can be nested.
CREATE TABLE {{tables.categories}} (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    parent_id  bigint,
    slug       text        NOT NULL,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT categories_pkey PRIMARY KEY (id),
    CONSTRAINT categories_slug_key UNIQUE (slug),
    CONSTRAINT categories_slug_shape CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 100),
    CONSTRAINT categories_name_length CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT categories_not_own_parent CHECK (parent_id <> id),
    CONSTRAINT categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES {{tables.categories}} (id)
);

CREATE INDEX categories_parent_id_idx ON {{tables.categories}} (parent_id);

COMMENT ON TABLE {{tables.categories}} IS 'Trees of categories; roots have no parent.';
