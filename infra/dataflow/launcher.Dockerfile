# Starts jobs from a Flex Template: docker build -f infra/dataflow/launcher.Dockerfile -t landloom-launcher:0.1.0 .
# It is the workers' image with Google's launcher in it, so that both have the same code, Python and Beam.
ARG WORKER=landloom-worker:0.1.0
ARG LAUNCHER=20250901-rc00
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:${LAUNCHER} AS google

# checkov:skip=CKV_DOCKER_7:the version stands in the argument above
FROM ${WORKER}
COPY --from=google /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY infra/dataflow/main.py /template/main.py
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/template/main.py
USER landloom
HEALTHCHECK NONE
ENTRYPOINT ["/opt/google/dataflow/python_template_launcher"]
