-- +goose Up
CREATE TABLE public.users (id int);

-- +goose Down
DROP TABLE public.users;
