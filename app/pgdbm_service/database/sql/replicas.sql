-- heartbeat: register this replica, or show that it is alive
INSERT INTO {{tables.replicas}} (id, host, pid, version) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = pg_catalog.now()

-- deregister: remove this replica, so that others need not wait until it is stale
DELETE FROM {{tables.replicas}} WHERE id = $1

-- prune: delete replicas that were last seen over a day ago
DELETE FROM {{tables.replicas}} WHERE seen_at < pg_catalog.now() - interval '1 day'

-- count: the number of replicas that are alive: each renews its row every few seconds
SELECT pg_catalog.count(*) FROM {{tables.replicas}} WHERE seen_at > pg_catalog.now() - interval '30 seconds'
