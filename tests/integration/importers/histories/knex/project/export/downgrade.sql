-- Migration 20240103000000_orders.js
drop table "orders";
-- Migration 20240102000000_index.js
DROP INDEX CONCURRENTLY users_email;
-- Migration 20240101000000_users.js
drop table "users";
