CREATE TABLE {{tables.tenants}} (
    name text PRIMARY KEY,
    signed_up_at timestamptz NOT NULL DEFAULT now()
);
