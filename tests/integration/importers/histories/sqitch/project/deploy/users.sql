BEGIN;
ALTER TABLE public.users ADD email text;
COMMIT;
