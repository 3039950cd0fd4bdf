CREATE TABLE public.users (id int);
CREATE INDEX users_id ON public.users (id);
CREATE TABLE public.flyway_schema_history (
    installed_rank integer NOT NULL PRIMARY KEY, version character varying(50), description character varying(200) NOT NULL,
    type character varying(20) NOT NULL, script character varying(1000) NOT NULL, checksum integer,
    installed_by character varying(100) NOT NULL, installed_on timestamp without time zone DEFAULT now() NOT NULL,
    execution_time integer NOT NULL, success boolean NOT NULL
);
INSERT INTO public.flyway_schema_history VALUES
    (1, '1', 'users', 'SQL', 'V1__users.sql', 796709708, 'ann', '2024-02-01 10:00:00', 12, true),
    (2, '2', 'index', 'SQL', 'V2__index.sql', -998897332, 'ann', '2024-02-02 10:00:00', 34, true);
