CREATE TABLE {{tables.reminders}} (
    invoice_id bigint PRIMARY KEY REFERENCES {{tables.billing.invoices}} (id),
    email text NOT NULL,
    text text NOT NULL
);
