-- Webhooks in the settings of the service have a name there; those that were created over HTTP have none.
ALTER TABLE {{tables.webhooks}} ADD COLUMN name text UNIQUE;
