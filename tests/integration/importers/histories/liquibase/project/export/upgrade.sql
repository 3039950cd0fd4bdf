-- *********************************************************************
-- Update Database Script
-- *********************************************************************
-- Change Log: changelog.xml
-- Ran at: 11/29/26, 3:26 AM
-- Against: null@offline:postgresql?outputLiquibaseSql=none
-- Liquibase version: 4.28.0
-- *********************************************************************

-- Changeset changelog.xml::1::ann
CREATE TABLE users (id INTEGER NOT NULL, email TEXT, CONSTRAINT users_pkey PRIMARY KEY (id));

-- Changeset more.sql::add-index::bob
CREATE INDEX CONCURRENTLY users_email ON users (email);

-- Changeset more.sql::view::bob
CREATE OR REPLACE VIEW v AS SELECT id FROM users;

-- Changeset more.sql::orders::bob
CREATE TABLE orders (id int);

