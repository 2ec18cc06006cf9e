"""Measure Landloom: `python -m benchmarks [NAME…]`, all by default; prints a table and what the machine is.

Inputs are simulated into `out/bench/` and kept. Give the machine nothing else to do meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable

from benchmarks import (
    change,
    coarse,
    coverage,
    end_of_run,
    far,
    flink,
    global_run,
    job,
    network,
    plan_globe,
    planning,
    radar_cost,
    script,
    seasons,
    serving,
    temporal,
    temporal_choice,
    through_triton,
    tiles,
    zonal,
)
from benchmarks.report import Figure, print_table

SIZE = 4000
"""Pixels along the simulated scenes' sides."""
MEASUREMENTS: dict[str, Callable[[int], list[Figure]]] = {
    "network": lambda size: network.network(),
    "speed": job.speed,
    "script": script.against_script,
    "memory": job.memory,
    "seasons": lambda size: seasons.seasons(),
    "radar-cost": lambda size: radar_cost.radar_cost(),
    "coarse": lambda size: coarse.coarse(),
    "full-tile": lambda size: job.full_tile(),
    "planning": lambda size: planning.planning(),
    "plan-globe": lambda size: plan_globe.plan_globe(),
    "end-of-run": lambda size: end_of_run.end_of_run(),
    "global-run": lambda size: global_run.global_run(),
    "capacity-check": lambda size: global_run.capacity_check(),
    "far": far.far,
    "serving": lambda size: serving.serving(),
    "globe": lambda size: serving.globe(),
    "tiles": lambda size: tiles.tiles(),
    "temporal": lambda size: temporal.temporal(),
    "temporal-choice": lambda size: temporal_choice.temporal_choice(),
    "triton": through_triton.job,
    "transport": lambda size: through_triton.transport(),
    "load": lambda size: through_triton.load(),
    "flink": flink.against_in_process,
    "flink-scaling": lambda size: flink.scaling(),
    "reader": lambda size: through_triton.reader(),
    "change": lambda size: [*change.change(), *change.coarsening()],
    "coverage": lambda size: coverage.coverage(),
    "zonal": lambda size: zonal.zonal(),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along a scene's side, a multiple of 4")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASUREMENTS):
        parser.error(f"no measurement {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    figures: list[Figure] = []
    for name in arguments.names or MEASUREMENTS:
        print(f"Measuring {name} …", flush=True)
        for figure in MEASUREMENTS[name](arguments.size):
            print(f"  {figure.name}: {figure.shown}", flush=True)
            figures.append(figure)
    print_table(figures)
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
