-- Prevents misspelled currencies. NOT VALID, so that no table is scanned under the lock on both.
ALTER TABLE {{tables.products}}
    ADD CONSTRAINT products_currency_fkey
    FOREIGN KEY (currency) REFERENCES {{tables.currencies}} (code) NOT VALID;
