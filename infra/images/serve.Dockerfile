# The catalog's server (STAC API, files, map tiles, web pages, processes): docker build -f infra/images/serve.Dockerfile -t landloom-serve .
# Run it on a folder:  docker run -p 8080:8080 -v $PWD/maps:/maps:ro landloom-serve --catalog /maps
# or on a bucket:      docker run -p 8080:8080 -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY landloom-serve --catalog s3://…
FROM node:22-bookworm-slim AS pages
WORKDIR /pages
COPY services/browser .
RUN ./build.sh

FROM python:3.11-slim-bookworm
WORKDIR /landloom
# The names that rasterio's and DuckDB's wheels want from the system.
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY catalog catalog
COPY pipelines pipelines
COPY services services
COPY --from=pages /pages/built services/browser/built
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache -c constraints.txt '.[processes]'
USER 1000
EXPOSE 8080
# All that it writes is a copy of the catalog's index, in /tmp: about 14 KB an item.
VOLUME /tmp
HEALTHCHECK --start-period=5m --interval=10s \
    CMD ["python", "-c", "import urllib.request as net; net.urlopen('http://localhost:8080/_mgmt/health')"]
ENTRYPOINT ["landloom", "serve", "--host", "0.0.0.0", "--json-logs"]
