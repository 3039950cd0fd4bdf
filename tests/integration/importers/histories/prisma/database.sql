CREATE TABLE public.users (id int);
CREATE INDEX users_id ON public.users (id);
CREATE TABLE public._prisma_migrations (
    id character varying(36) NOT NULL PRIMARY KEY, checksum character varying(64) NOT NULL, finished_at timestamp with time zone,
    migration_name character varying(255) NOT NULL, logs text, rolled_back_at timestamp with time zone,
    started_at timestamp with time zone DEFAULT now() NOT NULL, applied_steps_count integer DEFAULT 0 NOT NULL
);
INSERT INTO public._prisma_migrations VALUES
    ('a', '515ab0519352b89847ec3fd295b32ac6cede4a8b3f74ebcd3bc6128275a14ed0', '2024-02-01 10:00:00.5+00', '20240101000000_users', NULL, NULL, '2024-02-01 10:00:00+00', 1),
    ('b', 'f45ba2a338f478c55deece1f4d46273ac787138c580fb643f941514af1efece9', NULL, '20240102000000_index', 'canceled', '2024-02-02 09:30:00+00', '2024-02-02 09:00:00+00', 0),
    ('c', 'f45ba2a338f478c55deece1f4d46273ac787138c580fb643f941514af1efece9', '2024-02-02 10:00:01+00', '20240102000000_index', NULL, NULL, '2024-02-02 10:00:00+00', 1);
