"""Finished blocks on their way to a published tile-year: one compressed object each, written with one PUT."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from catalog.errors import LandloomError
from catalog.manifest import Manifest
from catalog.store import Store
from catalog.vote import Voted
from pipelines.block_season import SEASON_FILE
from pipelines.classify import BlockReport


def stage(
    store: Store, manifest: Manifest, number: int, voted: Voted, report: BlockReport, run: str, folder: Path
) -> None:
    """Write a finished block under its name, with the run that made it. Doing so twice does no harm.

    Its season, if the manifest wants it published, lies in `folder`. It is written first: a block that is there has
    one.
    """
    if manifest.seasons:
        store.upload(manifest.season_key(number), folder / SEASON_FILE)
    arrays: dict[str, Any] = {"data": voted.data, "confidence": voted.confidence, "observations": voted.observations}
    if voted.scores is not None:
        arrays["scores"] = voted.scores
    told = {
        "model": report.model,
        "run": run,
        "figures": report.figures,
        "problems": [problem.model_dump() for problem in report.problems],
        "warnings": [warning.model_dump() for warning in report.warnings],
    }
    buffer = io.BytesIO()
    np.savez(buffer, report=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
    # Read once and deleted: the quickest compression will do.
    store.write(manifest.block_key(number), gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


@dataclasses.dataclass(frozen=True)
class StagedBlock:
    """A block read back."""

    voted: Voted
    problems: list[dict[str, str]]
    """Scenes left out in this block: `scene` and `reason`."""
    warnings: list[dict[str, str]]
    """Scenes used, but odd."""
    run: str
    """That made it."""
    figures: dict[str, float]
    """Of its making."""


def read_staged(store: Store, manifest: Manifest, number: int) -> StagedBlock:
    """Read a staged block back.

    Raises:
        LandloomError: it was made by another network than the manifest's.
    """
    with np.load(io.BytesIO(gzip.decompress(store.read(manifest.block_key(number))))) as arrays:
        told = json.loads(arrays["report"].tobytes())
        if told["model"] != manifest.model.sha256:
            raise LandloomError(
                f"Block {number} of {manifest.id} was made by another network (SHA-256 {told['model'][:12]}) than the "
                f"manifest's ({manifest.model.sha256[:12]}). Delete {manifest.block_key(number)} and run again."
            )
        scores = arrays.get("scores")
        voted = Voted(arrays["data"], arrays["confidence"], arrays["observations"], scores)
    # Blocks that an older version staged do not tell who made them.
    return StagedBlock(voted, told["problems"], told["warnings"], told.get("run", ""), told.get("figures", {}))


def staged_blocks(store: Store, manifest: Manifest) -> set[int]:
    """The blocks of the tile-year that are staged."""
    there = set(store.list(manifest.staging))
    return {number for number in manifest.blocks if manifest.block_key(number) in there}


def is_complete(store: Store, manifest: Manifest) -> bool:
    """Whether every block of the tile-year is staged."""
    return len(staged_blocks(store, manifest)) == len(manifest.blocks)
