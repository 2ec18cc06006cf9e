# A Triton server for GPUs with a network in it: docker build -f infra/images/triton.Dockerfile -t landloom-triton .
# A network of your own:  --build-arg MODEL=ID --build-context registry=$HOME/.local/share/landloom
# Run it:                 docker run --gpus=all -p 8000-8002:8000-8002 landloom-triton
# The server is of the version that the tests run (2.51); newer ones take the same repository.
ARG TRITON=24.10-py3

# Replaced by the registry of `landloom models add`, where --build-context names one.
FROM scratch AS registry

FROM python:3.11-slim-bookworm AS repository
WORKDIR /landloom
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY catalog catalog
COPY pipelines pipelines
COPY services services
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache -c constraints.txt '.[triton]'
COPY --from=registry / /registry
ENV LANDLOOM_MODELS=/registry
ARG MODEL=unet-small
RUN landloom triton repository --gpu --model ${MODEL} --out /models

FROM nvcr.io/nvidia/tritonserver:${TRITON}
COPY --from=repository /models /models
USER 1000
EXPOSE 8000 8001 8002
# TensorRT builds its engines at the first start, which takes minutes.
HEALTHCHECK --start-period=15m --interval=10s CMD ["curl", "-fsS", "http://localhost:8000/v2/health/ready"]
CMD ["tritonserver", "--model-repository=/models", "--disable-auto-complete-config", "--exit-timeout-secs=30"]
