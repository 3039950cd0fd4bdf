-- depends: 20240101_01_users
-- transactional: false
CREATE INDEX CONCURRENTLY i ON public.users (id);
