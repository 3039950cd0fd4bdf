-- For support tools: users with their roles, without closed accounts.
CREATE VIEW {{tables.user_directory}} AS
SELECT u.id,
       u.email,
       u.display_name,
       u.status,
       coalesce(r.role_codes, ARRAY[]::text[]) AS role_codes,
       u.created_at
FROM {{tables.users}} AS u
LEFT JOIN LATERAL (
    SELECT array_agg(ur.role_code ORDER BY ur.role_code) AS role_codes
    FROM {{tables.user_roles}} AS ur
    WHERE ur.user_id = u.id
) AS r ON true
WHERE u.deleted_at IS NULL;

COMMENT ON VIEW {{tables.user_directory}} IS 'Accounts that are not closed, with the codes of their roles.';
