BEGIN;
ALTER TABLE public.users DROP email;
COMMIT;
