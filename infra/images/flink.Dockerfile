# Flink with Beam's runner, and who sends jobs to it:
#   docker build -f infra/images/flink.Dockerfile -t landloom-flink:0.1.0 .
#   docker build -f infra/images/flink.Dockerfile --target launcher -t landloom-flink-launcher:0.1.0 .
# The workers beside each TaskManager are infra/images/worker.Dockerfile.
ARG WORKER=landloom-worker:0.1.0

FROM maven:3.9-eclipse-temurin-17 AS jars
WORKDIR /build
COPY infra/flink/pom.xml .
# Who sends jobs needs Flink's client, too; a cluster has Flink in its image, and must not have it twice.
RUN mvn --quiet package && mv target/beam-flink-runner-1.jar launcher.jar \
    && mvn --quiet clean package -Dshaded.without=org.apache.flink:* && mv target/beam-flink-runner-1.jar cluster.jar

# checkov:skip=CKV_DOCKER_7:the version stands in the argument above
FROM ${WORKER} AS launcher
USER root
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/*
COPY --from=jars /build/launcher.jar /opt/landloom/beam-flink-runner.jar
USER landloom
HEALTHCHECK NONE
ENTRYPOINT ["landloom"]

FROM flink:1.19.3-java17 AS cluster
COPY --from=jars /build/cluster.jar /opt/flink/lib/beam-flink-runner.jar
# Kubernetes watches it by the operator's probes.
HEALTHCHECK NONE
USER flink
