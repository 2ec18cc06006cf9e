# Trains networks on a GPU, or without one: docker build -f infra/images/train.Dockerfile -t landloom-train .
# PyTorch's wheel brings CUDA with it; the node brings the driver.
FROM python:3.11-slim-bookworm
WORKDIR /landloom
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY catalog catalog
COPY pipelines pipelines
COPY services services
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache -c constraints.txt '.[train,evaluate]' \
    && useradd --create-home --uid 1000 landloom
USER landloom
WORKDIR /work
# It has no port; whoever runs it sees it end.
HEALTHCHECK NONE
ENTRYPOINT ["landloom"]
