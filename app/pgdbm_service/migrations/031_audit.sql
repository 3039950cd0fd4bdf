-- Every request that would have changed something, also the refused ones. `entry` is made before it is sent, so that
-- sending it twice writes it once.
CREATE TABLE {{tables.audit}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry uuid NOT NULL UNIQUE,
    at timestamptz NOT NULL,
    principal text NOT NULL,
    address text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    module text,
    run_id text,
    http_status integer,
    problem_code text,
    request_id text NOT NULL
);

CREATE INDEX audit_principal ON {{tables.audit}} (principal, id);
CREATE INDEX audit_module ON {{tables.audit}} (module, id);
