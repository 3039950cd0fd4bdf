CREATE TABLE public.users (id int);
CREATE INDEX users_id ON public.users (id);
CREATE TABLE public.schema_migrations (version character varying(128) NOT NULL PRIMARY KEY);
INSERT INTO public.schema_migrations VALUES ('20240101000000'), ('20240102000000');
