# Workers of Dataflow: docker build -f infra/images/worker.Dockerfile -t landloom-worker:0.1.0 .
# All that a worker needs is in it, the network too: nothing is installed or fetched when it starts. Push it where the
# workers' service account may read, and name it by --sdk_container_image; its tag begins with Landloom's version.
# Python and Beam are those of the launcher: functions travel as byte code.
ARG BEAM=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM} AS beam

FROM python:3.11-slim-bookworm
WORKDIR /landloom
# The name that rasterio's wheel wants from the system.
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY catalog catalog
COPY pipelines pipelines
COPY services services
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache -c constraints.txt '.[gcp,triton]' \
    && useradd --create-home --uid 1000 landloom
# Beam's program that starts Python where the runner says.
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Without it that program makes an environment of its own at each start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
USER landloom
# Dataflow asks for no port and watches its workers itself.
HEALTHCHECK NONE
ENTRYPOINT ["/opt/apache/beam/boot"]
