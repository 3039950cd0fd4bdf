CREATE TABLE {{tables.invoices}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES {{tables.users.users}} (id),
    cents bigint NOT NULL CHECK (cents > 0),
    paid boolean NOT NULL DEFAULT false
);
CREATE INDEX invoices_user_id ON {{tables.invoices}} (user_id);
