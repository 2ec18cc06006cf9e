"""Apache Flink as the runner: a cluster on this machine, and what a job needs to run on any."""
