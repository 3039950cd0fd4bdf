BEGIN;
CREATE TABLE public.orders (id int);
COMMIT;
