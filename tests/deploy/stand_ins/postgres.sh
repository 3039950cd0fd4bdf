set -e
data=/var/lib/postgresql/18/docker
mkdir -p $data
chown -R postgres: /var/lib/postgresql
chmod 700 $data
if [ ! -s $data/PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    gosu postgres initdb -D $data -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C.UTF-8 > /dev/null
    echo "host all all all scram-sha-256" >> $data/pg_hba.conf
    gosu postgres pg_ctl -D $data -w -o "-c listen_addresses= -k /tmp" start > /dev/null
    PGPASSWORD=$POSTGRES_PASSWORD createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
    gosu postgres pg_ctl -D $data -w stop > /dev/null
fi
exec gosu postgres postgres -D $data -c "listen_addresses=*"
