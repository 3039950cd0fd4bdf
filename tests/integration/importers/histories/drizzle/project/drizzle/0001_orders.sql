CREATE TABLE "orders" (
	"id" serial PRIMARY KEY NOT NULL,
	"a" text
);
