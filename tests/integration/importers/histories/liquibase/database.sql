SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.databasechangelog (
    id character varying(255) NOT NULL,
    author character varying(255) NOT NULL,
    filename character varying(255) NOT NULL,
    dateexecuted timestamp without time zone NOT NULL,
    orderexecuted integer NOT NULL,
    exectype character varying(10) NOT NULL,
    md5sum character varying(35),
    description character varying(255),
    comments character varying(255),
    tag character varying(255),
    liquibase character varying(20),
    contexts character varying(255),
    labels character varying(255),
    deployment_id character varying(10)
);
CREATE TABLE public.databasechangeloglock (
    id integer NOT NULL,
    locked boolean NOT NULL,
    lockgranted timestamp without time zone,
    lockedby character varying(255)
);
CREATE TABLE public.users (
    id integer NOT NULL,
    email text
);
CREATE VIEW public.v AS
 SELECT id
   FROM public.users;
INSERT INTO public.databasechangelog VALUES ('1', 'ann', 'changelog.xml', '2026-11-29 03:26:31.877601', 1, 'EXECUTED', '9:76c7a5c4ef8d8c44d5f125afd1370271', 'createTable tableName=users', '', NULL, '4.28.0', NULL, NULL, '5922791830');
INSERT INTO public.databasechangelog VALUES ('add-index', 'bob', 'more.sql', '2026-11-29 03:26:31.903733', 2, 'EXECUTED', '9:70879e55dfec6f3acb3c15021abf26d4', 'sql', '', NULL, '4.28.0', NULL, NULL, '5922791830');
INSERT INTO public.databasechangelog VALUES ('view', 'bob', 'more.sql', '2026-11-29 03:26:31.913106', 3, 'EXECUTED', '9:07050674037d5febfd364375ccf68618', 'sql', '', NULL, '4.28.0', NULL, NULL, '5922791830');
INSERT INTO public.databasechangeloglock VALUES (1, false, NULL, NULL);
ALTER TABLE ONLY public.databasechangeloglock
    ADD CONSTRAINT databasechangeloglock_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX users_email ON public.users USING btree (email);
