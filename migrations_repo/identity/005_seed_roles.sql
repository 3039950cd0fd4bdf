-- The application checks these codes, so they have to exist in every installation.
INSERT INTO {{tables.roles}} (code, description)
VALUES
    ('customer', 'Buys things'),
    ('support',  'Helps customers; reads everything, refunds orders'),
    ('merchant', 'Keeps the catalog'),
    ('admin',    'May do anything, grants roles')
ON CONFLICT (code) DO UPDATE SET description = EXCLUDED.description;

INSERT INTO {{tables.role_permissions}} (role_code, permission)
VALUES
    ('customer', 'orders:place'),
    ('support',  'users:read'),
    ('support',  'orders:read'),
    ('support',  'orders:refund'),
    ('merchant', 'catalog:read'),
    ('merchant', 'catalog:write'),
    ('admin',    'users:read'),
    ('admin',    'users:write'),
    ('admin',    'orders:read'),
    ('admin',    'orders:refund'),
    ('admin',    'catalog:write')
ON CONFLICT (role_code, permission) DO NOTHING;
