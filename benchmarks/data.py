"""Simulated inputs, written once under `out/bench/` and kept for the next measurement."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.simulate import Product, simulate

TILE, YEAR = "33UUU", 2021
CORNER = 1840
"""First row and column: with 4,000 px it makes four blocks of 2,000 x 2,000."""
_FOLDER = Path("out") / "bench"


@dataclass(frozen=True)
class Input:
    """One tile-year to map."""

    catalog: Path
    size: int
    """Pixels along a side."""
    dates: int

    @property
    def looks(self) -> int:
        """Published pixels x scenes; none is without data."""
        return self.size * self.size * self.dates


def simulated(size: int, dates: int, corner: int = CORNER) -> Input:
    """A square of one tile, all dates without gaps."""

    def write(folder: Path) -> None:
        simulate(folder, [Product(TILE, corner, corner, (size, size))], years=(YEAR,), dates_per_year=dates)

    return Input(kept(f"{size}px-{dates}-at{corner}", write), size, dates)


def kept(name: str, write: Callable[[Path], object]) -> Path:
    """The catalog of a simulation, which is written where it is not there yet: `write(folder)`."""
    folder = _FOLDER / name
    if not folder.exists():
        print(f"Writing simulated scenes to {folder} …", flush=True)
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write(partial)
        partial.rename(folder)
    return folder / "catalog.json"
