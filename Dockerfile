# syntax=docker/dockerfile:1
# One image for all of Tidewax: ingest, live, market, the local exchange, and the command line.
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY connectors connectors
COPY events events
COPY flows flows
COPY operators operators
COPY tidewax tidewax
RUN python -m venv /opt/tidewax \
    && /opt/tidewax/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 tidewax \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tidewax \
    && install --directory --owner tidewax --group tidewax /data
COPY --from=build /opt/tidewax /opt/tidewax
# Compiled kernels are kept beside the data, the only place that can be written.
ENV PATH=/opt/tidewax/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/data/.numba
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/metrics', timeout=4)"]
# In this form the process itself gets SIGTERM, and ends with its state saved.
ENTRYPOINT ["tidewax"]
CMD ["--help"]
