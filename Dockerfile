# A mirror or a hardened base can stand in for this one, as long as both stages use the same.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# The environment gets no pip of its own: the base's pip installs into it from outside.
RUN python -m venv --without-pip /opt/pgdbm
COPY requirements.service.lock ./
RUN pip --python /opt/pgdbm install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
    --requirement requirements.service.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip --python /opt/pgdbm install --no-cache-dir --no-deps --no-index /wheels/*.whl


FROM ${PYTHON_IMAGE}
# Numeric ids, so that Kubernetes can see without a passwd file that this is not root.
# /migrations_repo stays empty here: the migrations of a deployment are mounted over it.
RUN groupadd --gid 10001 pgdbm \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pgdbm \
    && install --directory --mode 0755 /migrations_repo
COPY --from=build /opt/pgdbm /opt/pgdbm

# 0.0.0.0 because nothing outside a container reaches its loopback. The service will not listen there
# unless PGDBM_AUTH or PGDBM_ALLOW_UNAUTHENTICATED=true is given too: that is for the deployment to say, not
# for the image. No bytecode is written at run time, pip has compiled it, so the root can be read-only.
ENV PATH=/opt/pgdbm/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PGDBM_HOST=0.0.0.0 \
    PGDBM_PORT=8000 \
    PGDBM_MIGRATIONS_REPO=/migrations_repo \
    PGDBM_LOG_FORMAT=json

USER 10001:10001
EXPOSE 8000

# http.client, because urllib would ask a proxy named in the environment for our own loopback.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PGDBM_PORT']), timeout=4); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]

# Exec form: python is process 1 and gets SIGTERM itself.
ENTRYPOINT ["python", "-m", "pgdbm_service"]

# Last, so that a new version or revision leaves every layer above in the cache.
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pgdbm" \
      org.opencontainers.image.description="PostgreSQL schema migrations as a service: plan, apply and watch them over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
