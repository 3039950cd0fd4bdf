-- From here on nothing is for sale without a date; the rows already there are looked at in the next file.
ALTER TABLE {{tables.products}}
    ADD CONSTRAINT products_published_at_present
    CHECK (status = 'draft' OR published_at IS NOT NULL) NOT VALID;
