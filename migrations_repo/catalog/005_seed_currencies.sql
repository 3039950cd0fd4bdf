-- The currencies in use. The next file restricts products to this list.
INSERT INTO {{tables.currencies}} (code, name, minor_units)
VALUES
    ('CHF', 'Swiss franc',     2),
    ('EUR', 'Euro',            2),
    ('GBP', 'Pound sterling',  2),
    ('JPY', 'Yen',             0),
    ('KWD', 'Kuwaiti dinar',   3),
    ('SEK', 'Swedish krona',   2),
    ('USD', 'US dollar',       2)
ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name, minor_units = EXCLUDED.minor_units;
