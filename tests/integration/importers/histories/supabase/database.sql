CREATE TABLE public.users (id int);
CREATE INDEX users_id ON public.users (id);
CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY, statements text[], name text);
INSERT INTO supabase_migrations.schema_migrations VALUES
    ('20240101000000', ARRAY['-- Users.
CREATE TABLE public.users (id int)', 'ALTER TABLE public.users ADD email text'], 'users'),
    ('20240102000000', ARRAY['CREATE INDEX CONCURRENTLY users_id ON public.users (id)'], 'index');
