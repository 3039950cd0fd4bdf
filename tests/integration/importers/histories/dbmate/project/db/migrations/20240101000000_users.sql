-- migrate:up
CREATE TABLE public.users (id int);

-- migrate:down
DROP TABLE public.users;
