-- Price claims ("was 20, now 15") have to be documented for the regulator, so every change is recorded.
CREATE TABLE {{tables.price_history}} (
    id              bigint      GENERATED ALWAYS AS IDENTITY,
    product_id      uuid        NOT NULL,
    old_price_cents bigint,
    new_price_cents bigint      NOT NULL,
    currency        text        NOT NULL,
    changed_by      uuid,
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT price_history_pkey PRIMARY KEY (id),
    CONSTRAINT price_history_product_id_fkey FOREIGN KEY (product_id) REFERENCES {{tables.products}} (id),
    CONSTRAINT price_history_currency_fkey FOREIGN KEY (currency) REFERENCES {{tables.currencies}} (code)
);

CREATE INDEX price_history_product_id_changed_at_idx ON {{tables.price_history}} (product_id, changed_at DESC);

CREATE FUNCTION {{tables.record_price_change}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_price bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- A price in another currency is a new price, not a change of the old one.
        IF OLD.currency = NEW.currency THEN
            old_price := OLD.price_cents;
        END IF;
    END IF;
    INSERT INTO {{tables.price_history}} (product_id, old_price_cents, new_price_cents, currency, changed_by)
    VALUES (NEW.id, old_price, NEW.price_cents, NEW.currency,
            nullif(current_setting('app.user_id', true), '')::uuid);
    RETURN NULL;
END;
$$;

CREATE TRIGGER products_record_first_price
    AFTER INSERT ON {{tables.products}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.record_price_change}}();

CREATE TRIGGER products_record_price_change
    AFTER UPDATE OF price_cents, currency ON {{tables.products}}
    FOR EACH ROW
    WHEN ((OLD.price_cents, OLD.currency) IS DISTINCT FROM (NEW.price_cents, NEW.currency))
    EXECUTE FUNCTION {{tables.record_price_change}}();

COMMENT ON TABLE {{tables.price_history}} IS 'Written by a trigger on products; rows are never changed.';
COMMENT ON COLUMN {{tables.price_history}}.old_price_cents IS
    'Null for the first price, and after a change of currency.';
COMMENT ON COLUMN {{tables.price_history}}.changed_by IS
    'From the setting app.user_id; a user of the identity module, without a foreign key.';
