# Can be a mirror or a hardened base image. Both stages must use the same.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# The shipped environment has no pip: the base image's pip installs into it. The environment that builds the wheel is
# not shipped. The lock files have the hash of everything that is downloaded.
RUN python -m venv --without-pip /opt/pgdbm && python -m venv --without-pip /opt/build
# Some wheels contain debug symbols, a sixth of the image. binutils is not shipped, so any version will do.
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY requirements.build.lock requirements.service.lock ./
RUN pip --python /opt/build install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement requirements.build.lock \
    && pip --python /opt/pgdbm install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement requirements.service.lock \
    && find /opt/pgdbm -name '*.so' -exec strip --strip-debug {} +
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
# The image has the commands python and pgdbm, and none of the dependencies' scripts.
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /wheels \
    && pip --python /opt/pgdbm install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && find /opt/pgdbm/bin -mindepth 1 ! -name 'python*' ! -name pgdbm -delete


FROM ${PYTHON_IMAGE}
# Numeric ids, so that Kubernetes can verify runAsNonRoot without a passwd file. Any other id works, too.
# /migrations_repo is empty: a deployment mounts its migrations there.
RUN groupadd --gid 10001 pgdbm \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pgdbm \
    && install --directory --mode 0755 /migrations_repo
COPY --from=build /opt/pgdbm /opt/pgdbm

# 0.0.0.0, because a container's loopback cannot be reached from outside. The service refuses to listen there unless the
# deployment sets PGDBM_AUTH or PGDBM_ALLOW_UNAUTHENTICATED=true. pip has compiled the bytecode, and none is written at
# run time, so the root can be read-only.
ENV PATH=/opt/pgdbm/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PGDBM_HOST=0.0.0.0 \
    PGDBM_PORT=8000 \
    PGDBM_MIGRATIONS_REPO=/migrations_repo \
    PGDBM_LOG_FORMAT=json

USER 10001:10001
EXPOSE 8000

# http.client, because urllib would send the request to a proxy from the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PGDBM_PORT']), timeout=4); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]

# Exec form: python is process 1 and receives SIGTERM. Without arguments it runs the service; with arguments, the
# command pgdbm: `docker run IMAGE deploy …`, or `docker run IMAGE pgdbm deploy …`.
ENTRYPOINT ["python", "-m", "pgdbm_service"]

# Last, so that a new version or revision does not invalidate the layers above.
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG SOURCE=unknown
ENV PGDBM_REVISION=${REVISION}
LABEL org.opencontainers.image.title="pgdbm" \
      org.opencontainers.image.description="PostgreSQL schema migrations as a service over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
