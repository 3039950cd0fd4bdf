-- Users.
CREATE TABLE public.users (id int);
ALTER TABLE public.users ADD email text;
