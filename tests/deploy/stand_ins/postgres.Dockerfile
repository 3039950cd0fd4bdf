# What docker-compose.yml uses of the image postgres, for a machine that cannot pull it.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql gosu && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/lib/postgresql/* /usr/lib/postgresql/current
COPY postgres.sh /entry.sh
ENV PATH=/usr/lib/postgresql/current/bin:$PATH
ENTRYPOINT ["/bin/sh", "/entry.sh"]
