--liquibase formatted sql
--changeset bob:add-index runInTransaction:false
CREATE INDEX CONCURRENTLY users_email ON users (email);
--rollback DROP INDEX CONCURRENTLY users_email;

--changeset bob:view runOnChange:true
CREATE OR REPLACE VIEW v AS SELECT id FROM users;
--rollback DROP VIEW v;

--changeset bob:orders
CREATE TABLE orders (id int);
