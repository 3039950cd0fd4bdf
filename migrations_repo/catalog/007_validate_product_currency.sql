-- The scan that the foreign key put off: writers are not blocked while it runs.
ALTER TABLE {{tables.products}} VALIDATE CONSTRAINT products_currency_fkey;
