-- Orders with the buyer, the currency and the status.
CREATE TYPE {{tables.order_status}} AS ENUM ('draft', 'placed', 'paid', 'shipped', 'cancelled');

CREATE TABLE {{tables.orders}} (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    number      bigint      GENERATED ALWAYS AS IDENTITY (START WITH 100001),
    user_id     uuid        NOT NULL,
    status      {{tables.order_status}} NOT NULL DEFAULT 'draft',
    currency    text        NOT NULL,
    total_cents bigint      NOT NULL DEFAULT 0,
    placed_at   timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    CONSTRAINT orders_number_key UNIQUE (number),
    CONSTRAINT orders_currency_shape CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT orders_total_not_negative CHECK (total_cents >= 0),
    CONSTRAINT orders_placed_at_present CHECK (status IN ('draft', 'cancelled') OR placed_at IS NOT NULL)
);

CREATE INDEX orders_user_id_created_at_idx ON {{tables.orders}} (user_id, created_at DESC);
-- The warehouse queries open orders frequently; they are a small part of the table.
CREATE INDEX orders_open_idx ON {{tables.orders}} (placed_at) WHERE status IN ('placed', 'paid');
CREATE INDEX orders_placed_day_idx ON {{tables.orders}} (((placed_at AT TIME ZONE 'UTC')::date))
    WHERE placed_at IS NOT NULL;

COMMENT ON TABLE {{tables.orders}} IS 'One row per order or basket (status draft).';
COMMENT ON COLUMN {{tables.orders}}.number IS 'The order number for customers and support; has gaps.';
COMMENT ON COLUMN {{tables.orders}}.user_id IS 'A user of the identity module, without a foreign key.';
