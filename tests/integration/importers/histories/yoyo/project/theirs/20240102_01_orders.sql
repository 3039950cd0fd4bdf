-- depends: 20240101_02_index
CREATE TABLE public.orders (id int);
