set -e
echo "\"$DB_USER\" \"$DB_PASSWORD\"" > /tmp/users.txt
cat > /tmp/pgbouncer.ini <<INI
[databases]
$DB_NAME = host=$DB_HOST port=5432 user=$DB_USER password=$DB_PASSWORD
[pgbouncer]
listen_addr = *
listen_port = 5432
auth_type = $AUTH_TYPE
auth_file = /tmp/users.txt
pool_mode = $POOL_MODE
default_pool_size = $DEFAULT_POOL_SIZE
ignore_startup_parameters = $IGNORE_STARTUP_PARAMETERS
INI
exec pgbouncer /tmp/pgbouncer.ini
