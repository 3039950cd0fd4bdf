-- URLs that events are posted to. "secret" signs what is sent, so it is stored as it is. "pattern" is "modules", a glob
-- with * and ?, in the form for LIKE. Without "is_enabled" nothing is sent, and "disabled_reason" says
-- why; what was to be sent is kept until it is enabled again.
CREATE TABLE {{tables.webhooks}} (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    url text NOT NULL,
    secret text NOT NULL,
    previous_secret text,
    events text[] NOT NULL,
    modules text NOT NULL,
    pattern text NOT NULL,
    format text NOT NULL CHECK (format IN ('standard', 'slack', 'teams')),
    blocked_after_s double precision NOT NULL,
    is_enabled boolean NOT NULL DEFAULT true,
    disabled_reason text,
    failing_since timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What is sent to a webhook: one row for each event, in the order of the commits of a run. A replica that sends one
-- moves "next_attempt_at" into the future first; if it dies, another one sends it again then. "id" is the webhook-id.
CREATE TABLE {{tables.webhook_deliveries}} (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    webhook uuid NOT NULL REFERENCES {{tables.webhooks}} ON DELETE CASCADE,
    event text NOT NULL,
    module text NOT NULL,
    run uuid,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    http_status integer,
    reason text
);
CREATE INDEX webhook_deliveries_pending ON {{tables.webhook_deliveries}} (run, webhook, number) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_due ON {{tables.webhook_deliveries}} (next_attempt_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_newest ON {{tables.webhook_deliveries}} (webhook, number DESC);

-- In the transaction that writes an event of a run, whichever statement that is: an event is never committed without
-- what is to be sent about it.
CREATE FUNCTION {{tables.webhook_deliveries_of_event}}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event_type text := CASE NEW.kind
        WHEN 'run_queued' THEN 'run.queued'
        WHEN 'run_ended' THEN 'run.' || (NEW.data ->> 'status')
        WHEN 'blocked' THEN 'run.blocked'
        WHEN 'waiting_for_runner' THEN 'run.blocked'
        ELSE 'run.waiting' END;
BEGIN
    IF NEW.kind = 'run_ended' THEN
        UPDATE {{tables.webhook_deliveries}} d SET status = 'dropped', reason = 'the run has ended before it was due'
        WHERE d.run = NEW.run AND d.event = 'run.blocked' AND d.status = 'pending' AND d.attempts = 0;
    END IF;
    INSERT INTO {{tables.webhook_deliveries}} (webhook, event, module, run, data, next_attempt_at)
    SELECT w.id, event_type, r.module, NEW.run, NEW.data,
           pg_catalog.now() + CASE event_type WHEN 'run.blocked' THEN pg_catalog.make_interval(secs => w.blocked_after_s)
                                        ELSE interval '0' END
    FROM {{tables.runs}} r JOIN {{tables.webhooks}} w ON r.module LIKE w.pattern AND event_type = ANY (w.events)
    WHERE r.id = NEW.run AND w.is_enabled
    ORDER BY w.number;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('pgdbm_service_webhooks', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER webhooks AFTER INSERT ON {{tables.run_events}} FOR EACH ROW
    WHEN (NEW.kind IN ('run_queued', 'run_ended', 'held', 'waiting_for_approval', 'blocked', 'waiting_for_runner'))
    EXECUTE FUNCTION {{tables.webhook_deliveries_of_event}}();
