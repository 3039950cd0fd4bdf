ALTER TABLE {{tables.orders}} ADD COLUMN quantity integer NOT NULL DEFAULT 1;
