-- A misspelt currency went live once; NOT VALID, so that no scan happens under the lock on both tables.
ALTER TABLE {{tables.products}}
    ADD CONSTRAINT products_currency_fkey
    FOREIGN KEY (currency) REFERENCES {{tables.currencies}} (code) NOT VALID;
