-- The payment provider repeats callbacks; each payment must be recorded once.
CREATE TYPE {{tables.payment_state}} AS ENUM ('pending', 'captured', 'failed');

CREATE TABLE {{tables.payments}} (
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(),
    order_id           uuid        NOT NULL,
    state              {{tables.payment_state}} NOT NULL DEFAULT 'pending',
    amount_cents       bigint      NOT NULL,
    provider           text        NOT NULL,
    provider_reference text        NOT NULL,
    captured_at        timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_pkey PRIMARY KEY (id),
    CONSTRAINT payments_order_id_fkey FOREIGN KEY (order_id) REFERENCES {{tables.orders}} (id),
    CONSTRAINT payments_provider_reference_key UNIQUE (provider, provider_reference),
    CONSTRAINT payments_provider_length CHECK (length(provider) BETWEEN 1 AND 50),
    CONSTRAINT payments_provider_reference_length CHECK (length(provider_reference) BETWEEN 1 AND 200),
    CONSTRAINT payments_amount_positive CHECK (amount_cents > 0),
    CONSTRAINT payments_captured_at_matches_state CHECK ((state = 'captured') = (captured_at IS NOT NULL))
);

CREATE INDEX payments_order_id_idx ON {{tables.payments}} (order_id);
-- An order has one successful payment, and any number of failed ones.
CREATE UNIQUE INDEX payments_one_captured_per_order_key ON {{tables.payments}} (order_id) WHERE state = 'captured';
CREATE INDEX payments_pending_idx ON {{tables.payments}} (created_at) WHERE state = 'pending';

CREATE TRIGGER payments_touch_updated_at
    BEFORE UPDATE ON {{tables.payments}}
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION {{tables.touch_updated_at}}();

COMMENT ON TABLE {{tables.payments}} IS 'One row per payment attempt.';
COMMENT ON COLUMN {{tables.payments}}.provider_reference IS
    'The provider''s id of the payment; repeated callbacks have the same one.';
