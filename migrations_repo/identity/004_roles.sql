-- Permissions were flags in the application; support has to list and grant them.
CREATE TABLE {{tables.roles}} (
    code        text NOT NULL,
    description text NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (code),
    CONSTRAINT roles_code_shape CHECK (code ~ '^[a-z][a-z_]{1,40}$')
);

CREATE TABLE {{tables.role_permissions}} (
    role_code  text NOT NULL,
    permission text NOT NULL,
    CONSTRAINT role_permissions_pkey PRIMARY KEY (role_code, permission),
    CONSTRAINT role_permissions_role_code_fkey
        FOREIGN KEY (role_code) REFERENCES {{tables.roles}} (code) ON DELETE CASCADE,
    CONSTRAINT role_permissions_permission_shape CHECK (permission ~ '^[a-z]+:[a-z]+$')
);

CREATE TABLE {{tables.user_roles}} (
    user_id    uuid        NOT NULL,
    role_code  text        NOT NULL,
    granted_by uuid,
    granted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role_code),
    CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES {{tables.users}} (id) ON DELETE CASCADE,
    CONSTRAINT user_roles_role_code_fkey FOREIGN KEY (role_code) REFERENCES {{tables.roles}} (code),
    CONSTRAINT user_roles_granted_by_fkey
        FOREIGN KEY (granted_by) REFERENCES {{tables.users}} (id) ON DELETE SET NULL
);

CREATE INDEX user_roles_role_code_idx ON {{tables.user_roles}} (role_code);
CREATE INDEX user_roles_granted_by_idx ON {{tables.user_roles}} (granted_by) WHERE granted_by IS NOT NULL;

COMMENT ON TABLE {{tables.roles}} IS 'Reference data: changed by migrations, not by the application.';
COMMENT ON COLUMN {{tables.user_roles}}.granted_by IS 'Null if the system granted it, or if the granting user was deleted.';
