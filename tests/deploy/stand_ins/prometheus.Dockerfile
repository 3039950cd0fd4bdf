# What docker-compose.yml uses of the image of Prometheus, for a machine that cannot pull it.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/*
WORKDIR /prometheus
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
