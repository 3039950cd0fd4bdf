-- The currencies we sell in today; products are held to this list from the next file on.
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
