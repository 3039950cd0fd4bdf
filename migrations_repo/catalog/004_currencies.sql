-- Yen has no cents and dinars have three digits of them: prices need to know how to be shown.
CREATE TABLE {{tables.currencies}} (
    code        text     NOT NULL,
    name        text     NOT NULL,
    minor_units smallint NOT NULL,
    CONSTRAINT currencies_pkey PRIMARY KEY (code),
    CONSTRAINT currencies_code_shape CHECK (code ~ '^[A-Z]{3}$'),
    CONSTRAINT currencies_minor_units_range CHECK (minor_units BETWEEN 0 AND 4)
);

COMMENT ON TABLE {{tables.currencies}} IS 'ISO 4217, only what we sell in. Reference data: changed by migrations.';
COMMENT ON COLUMN {{tables.currencies}}.minor_units IS 'Digits after the decimal point.';
