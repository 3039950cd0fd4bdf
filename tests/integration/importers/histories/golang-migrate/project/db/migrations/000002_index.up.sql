CREATE INDEX CONCURRENTLY users_id ON public.users (id);
