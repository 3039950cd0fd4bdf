-- Validates the backfill without blocking writers; fails if a product for sale has no date.
ALTER TABLE {{tables.products}} VALIDATE CONSTRAINT products_published_at_present;
