-- No product is for sale without a date. The next file checks existing rows.
ALTER TABLE {{tables.products}}
    ADD CONSTRAINT products_published_at_present
    CHECK (status = 'draft' OR published_at IS NOT NULL) NOT VALID;
