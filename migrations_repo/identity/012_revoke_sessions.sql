-- Suspended and closed accounts stayed signed in until their sessions expired.
CREATE FUNCTION {{tables.revoke_user_sessions}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE {{tables.sessions}}
    SET revoked_at = now()
    WHERE user_id = NEW.id AND revoked_at IS NULL;
    RETURN NULL;
END;
$$;

CREATE TRIGGER users_revoke_sessions
    AFTER UPDATE OF status ON {{tables.users}}
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status AND (NEW.status = 'suspended' OR NEW.deleted_at IS NOT NULL))
    EXECUTE FUNCTION {{tables.revoke_user_sessions}}();

-- Sessions from before the trigger.
UPDATE {{tables.sessions}} AS s
SET revoked_at = now()
FROM {{tables.users}} AS u
WHERE u.id = s.user_id
  AND (u.status = 'suspended' OR u.deleted_at IS NOT NULL)
  AND s.revoked_at IS NULL;
