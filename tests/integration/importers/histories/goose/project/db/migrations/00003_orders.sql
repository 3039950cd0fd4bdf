-- +goose Up
CREATE TABLE public.orders (id int);

-- +goose Down
DROP TABLE public.orders;
