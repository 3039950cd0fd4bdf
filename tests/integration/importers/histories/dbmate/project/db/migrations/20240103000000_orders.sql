-- migrate:up
CREATE TABLE public.orders (id int);

-- migrate:down
DROP TABLE public.orders;
