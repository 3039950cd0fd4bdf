-- Migration 20240101000000_users.js
create table "users" ("id" serial primary key, "email" varchar(255) not null);
insert into "users" ("email") values ('it''s'), ('?');
-- Migration 20240102000000_index.js
CREATE INDEX CONCURRENTLY users_email ON users (email);
-- Migration 20240103000000_orders.js
create table "orders" ("id" serial primary key);
