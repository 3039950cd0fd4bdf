-- The number of decimal places per currency: none for the yen, three for the dinar.
CREATE TABLE {{tables.currencies}} (
    code        text     NOT NULL,
    name        text     NOT NULL,
    minor_units smallint NOT NULL,
    CONSTRAINT currencies_pkey PRIMARY KEY (code),
    CONSTRAINT currencies_code_shape CHECK (code ~ '^[A-Z]{3}$'),
    CONSTRAINT currencies_minor_units_range CHECK (minor_units BETWEEN 0 AND 4)
);

COMMENT ON TABLE {{tables.currencies}} IS 'ISO 4217 currencies in use. Reference data: changed by migrations.';
COMMENT ON COLUMN {{tables.currencies}}.minor_units IS 'Digits after the decimal point.';
