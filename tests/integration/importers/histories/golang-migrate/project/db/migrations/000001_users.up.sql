CREATE TABLE public.users (id int);
