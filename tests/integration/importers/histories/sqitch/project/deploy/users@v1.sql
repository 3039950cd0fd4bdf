BEGIN;
CREATE TABLE public.users (id int);
COMMIT;
