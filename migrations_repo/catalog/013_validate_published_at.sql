-- Proves the backfill: fails if a product for sale has no date, and blocks no writer meanwhile.
ALTER TABLE {{tables.products}} VALIDATE CONSTRAINT products_published_at_present;
