BEGIN;
DROP TABLE public.users;
COMMIT;
