-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY users_id ON public.users (id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY public.users_id;
