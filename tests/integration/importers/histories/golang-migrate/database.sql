CREATE TABLE public.users (id int);
CREATE INDEX users_id ON public.users (id);
CREATE TABLE public.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO public.schema_migrations VALUES (2, false);
