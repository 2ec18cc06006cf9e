"""What Dataflow's launcher runs: a file, since it takes no command."""

from pipelines.dataflow.template import main

if __name__ == "__main__":
    main()
