-- The history of an order, for support. Partitioned by month, so that old months can be dropped.
CREATE TABLE {{tables.order_events}} (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    order_id    uuid        NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    from_status {{tables.order_status}},
    to_status   {{tables.order_status}} NOT NULL,
    actor_id    uuid,
    detail      jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT order_events_pkey PRIMARY KEY (id, occurred_at),
    CONSTRAINT order_events_order_id_fkey FOREIGN KEY (order_id) REFERENCES {{tables.orders}} (id) ON DELETE CASCADE,
    CONSTRAINT order_events_detail_is_object CHECK (jsonb_typeof(detail) = 'object')
) PARTITION BY RANGE (occurred_at);

-- Bounds have an offset: without it they would depend on the time zone of the session.
CREATE TABLE {{tables.order_events_202611}} PARTITION OF {{tables.order_events}}
    FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');
CREATE TABLE {{tables.order_events_202612}} PARTITION OF {{tables.order_events}}
    FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');
CREATE TABLE {{tables.order_events_202701}} PARTITION OF {{tables.order_events}}
    FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00');
-- Events of a month without a partition, which would fail otherwise.
CREATE TABLE {{tables.order_events_default}} PARTITION OF {{tables.order_events}} DEFAULT;

CREATE INDEX order_events_order_id_occurred_at_idx ON {{tables.order_events}} (order_id, occurred_at);
CREATE INDEX order_events_actor_id_idx ON {{tables.order_events}} (actor_id, occurred_at) WHERE actor_id IS NOT NULL;

COMMENT ON TABLE {{tables.order_events}} IS 'Every change of status; one partition per month in UTC.';
COMMENT ON TABLE {{tables.order_events_default}} IS 'Events of months without a partition; should be empty.';
COMMENT ON COLUMN {{tables.order_events}}.actor_id IS 'The user in the setting app.user_id; null for jobs.';
