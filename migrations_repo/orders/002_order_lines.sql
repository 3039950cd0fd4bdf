-- Prices are copied when the order is placed: a later price change must not affect it.
CREATE TABLE {{tables.order_lines}} (
    id               bigint  GENERATED ALWAYS AS IDENTITY,
    order_id         uuid    NOT NULL,
    product_id       uuid    NOT NULL,
    quantity         integer NOT NULL,
    unit_price_cents bigint  NOT NULL,
    line_total_cents bigint  GENERATED ALWAYS AS (quantity * unit_price_cents) STORED,
    CONSTRAINT order_lines_pkey PRIMARY KEY (id),
    CONSTRAINT order_lines_order_id_fkey FOREIGN KEY (order_id) REFERENCES {{tables.orders}} (id) ON DELETE CASCADE,
    CONSTRAINT order_lines_order_id_product_id_key UNIQUE (order_id, product_id),
    CONSTRAINT order_lines_quantity_range CHECK (quantity BETWEEN 1 AND 10000),
    CONSTRAINT order_lines_unit_price_not_negative CHECK (unit_price_cents >= 0)
);

CREATE INDEX order_lines_product_id_idx ON {{tables.order_lines}} (product_id);

COMMENT ON TABLE {{tables.order_lines}} IS 'Products of an order, with their price at that time.';
COMMENT ON COLUMN {{tables.order_lines}}.product_id IS 'A product of the catalog module, without a foreign key.';
