-- Products for sale. The search column is here from the start, because adding it later would rewrite the table.
CREATE TYPE {{tables.product_status}} AS ENUM ('draft', 'active', 'retired');

CREATE TABLE {{tables.products}} (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    sku         text        NOT NULL,
    title       text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    category_id bigint      NOT NULL,
    status      {{tables.product_status}} NOT NULL DEFAULT 'draft',
    price_cents bigint      NOT NULL,
    currency    text        NOT NULL,
    attributes  jsonb       NOT NULL DEFAULT '{}',
    search      tsvector    GENERATED ALWAYS AS (
        setweight(to_tsvector('pg_catalog.english'::regconfig, title), 'A')
        || setweight(to_tsvector('pg_catalog.english'::regconfig, description), 'B')
    ) STORED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_pkey PRIMARY KEY (id),
    CONSTRAINT products_sku_key UNIQUE (sku),
    CONSTRAINT products_sku_shape CHECK (sku ~ '^[A-Z0-9][A-Z0-9-]{1,63}$'),
    CONSTRAINT products_title_length CHECK (length(title) BETWEEN 1 AND 300),
    CONSTRAINT products_description_length CHECK (length(description) <= 20000),
    CONSTRAINT products_price_not_negative CHECK (price_cents >= 0),
    CONSTRAINT products_currency_shape CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_attributes_is_object CHECK (jsonb_typeof(attributes) = 'object'),
    CONSTRAINT products_category_id_fkey FOREIGN KEY (category_id) REFERENCES {{tables.categories}} (id)
);

CREATE INDEX products_category_id_idx ON {{tables.products}} (category_id);
CREATE INDEX products_active_price_idx ON {{tables.products}} (category_id, price_cents) WHERE status = 'active';
CREATE INDEX products_brand_idx ON {{tables.products}} (lower(attributes ->> 'brand')) WHERE attributes ? 'brand';
CREATE INDEX products_search_idx ON {{tables.products}} USING gin (search);

COMMENT ON TABLE {{tables.products}} IS
    'Never deleted, only retired: orders refer to id and have no foreign key on it.';
COMMENT ON COLUMN {{tables.products}}.price_cents IS 'In the minor unit of the currency, taxes included.';
COMMENT ON COLUMN {{tables.products}}.search IS 'Title (weight A) and description (weight B), in English.';
