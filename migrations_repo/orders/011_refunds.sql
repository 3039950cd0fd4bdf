-- Partial refunds. A trigger prevents refunds of more than was paid.
CREATE TABLE {{tables.refunds}} (
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    payment_id   uuid        NOT NULL,
    amount_cents bigint      NOT NULL,
    reason       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_pkey PRIMARY KEY (id),
    CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES {{tables.payments}} (id),
    CONSTRAINT refunds_amount_positive CHECK (amount_cents > 0),
    CONSTRAINT refunds_reason_length CHECK (length(reason) BETWEEN 1 AND 1000)
);

CREATE INDEX refunds_payment_id_idx ON {{tables.refunds}} (payment_id);

CREATE FUNCTION {{tables.guard_refund}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    payment {{tables.payments}}%ROWTYPE;
    refunded bigint;
BEGIN
    -- The lock serializes refunds of one payment, so that the second sees the first.
    SELECT p.* INTO payment FROM {{tables.payments}} AS p WHERE p.id = NEW.payment_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;  -- the foreign key reports it
    END IF;

    SELECT coalesce(sum(r.amount_cents), 0) + NEW.amount_cents INTO refunded
    FROM {{tables.refunds}} AS r
    WHERE r.payment_id = NEW.payment_id;

    IF payment.state <> 'captured' OR refunded > payment.amount_cents THEN
        RAISE EXCEPTION 'refunds of payment % would exceed what was captured', payment.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_within_payment';
    END IF;

    IF refunded = payment.amount_cents THEN
        UPDATE {{tables.orders}} SET status = 'refunded' WHERE id = payment.order_id;
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER refunds_guard
    BEFORE INSERT ON {{tables.refunds}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.guard_refund}}();

COMMENT ON TABLE {{tables.refunds}} IS
    'At most the captured payment; the order becomes refunded when all of it was returned.';
