dry run
> Migrating files:
> - 1704067200000_users
> - 1704153600000_index
> - 1704240000000_orders
### MIGRATION 1704067200000_users (UP) ###
CREATE TABLE "users" (
  "id" serial PRIMARY KEY,
  "email" text
);
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1704067200000_users', NOW());


### MIGRATION 1704153600000_index (UP) ###
COMMIT;
CREATE INDEX CONCURRENTLY "users_email_index" ON "users" ("email");
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1704153600000_index', NOW());
BEGIN;


### MIGRATION 1704240000000_orders (UP) ###
-- Up Migration
CREATE TABLE orders (id int);
;
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1704240000000_orders', NOW());


Migrations complete!
