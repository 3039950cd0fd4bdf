SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE public.users (
    id integer
);
CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO public._yoyo_log VALUES ('b4e01c02-eba4-11f1-8853-02fc00000001', '0839cc8bd798315abab2e576099632650020b35a3ec680267ab19588b1ff9662', '20240101_01_users', 'apply', 'root', 'localhost', NULL, '2026-11-29 03:26:46.695644');
INSERT INTO public._yoyo_log VALUES ('b4e36920-eba4-11f1-8853-02fc00000001', '58038e061af2acbd7da291baf0b4b579e23b0e39814f3b85e684e35d35a2c507', '20240101_02_index', 'apply', 'root', 'localhost', NULL, '2026-11-29 03:26:46.716348');
INSERT INTO public._yoyo_migration VALUES ('0839cc8bd798315abab2e576099632650020b35a3ec680267ab19588b1ff9662', '20240101_01_users', '2026-11-29 03:26:46.696536');
INSERT INTO public._yoyo_migration VALUES ('58038e061af2acbd7da291baf0b4b579e23b0e39814f3b85e684e35d35a2c507', '20240101_02_index', '2026-11-29 03:26:46.716746');
INSERT INTO public._yoyo_version VALUES (2, '2026-11-29 03:26:46.661129');
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX i ON public.users USING btree (id);
