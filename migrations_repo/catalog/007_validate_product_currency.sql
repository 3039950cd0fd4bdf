-- Validates the foreign key without blocking writers.
ALTER TABLE {{tables.products}} VALIDATE CONSTRAINT products_currency_fkey;
