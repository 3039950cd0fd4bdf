# What docker-compose.yml uses of the image of PgBouncer, for a machine that cannot pull it.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends pgbouncer && rm -rf /var/lib/apt/lists/*
COPY pgbouncer.sh /entry.sh
USER postgres
ENTRYPOINT ["/bin/sh", "/entry.sh"]
