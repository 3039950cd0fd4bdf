-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY users_id ON public.users (id);

-- +goose Down
DROP INDEX CONCURRENTLY public.users_id;
