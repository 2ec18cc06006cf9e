"""The confidence of votes over real dates of real places that the shipped network has not learned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from services.inference import DEFAULT_MODEL, open_network
from services.inference.chips import Chip, read_chips
from services.inference.votes import evaluate_votes
from tests.pipelines.running import landloom

CHIPS = Path(__file__).parents[2].parent / "shared" / "data" / "training"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHIPS.is_dir(), reason=f"no chips in {CHIPS}")]
PLACES = ("belgium", "cr-morocco", "dajabon", "finland-288afc34")


@pytest.fixture(scope="module")
def chips(tmp_path_factory) -> list[Chip]:
    """The validation places that have several dates."""
    folder = tmp_path_factory.mktemp("votes")
    index = pd.read_csv(CHIPS / "chips.csv", dtype=str)
    (folder / "chips").symlink_to(CHIPS / "chips")
    index[index["place"].isin(PLACES)].to_csv(folder / "chips.csv", index=False)
    landloom("dataset", "--chips", folder, "--out", folder / "set", "--verbose")
    return read_chips([str(folder / "set")], "validation")


def test_of_the_pixels_at_eighty_per_cent_eighty_agree(chips: list[Chip]) -> None:
    network = open_network(DEFAULT_MODEL)
    of = {told: evaluate_votes(network, chips, "dates", told) for told in ("published", "cross-fitted", "share")}
    errors = {
        told: {one.name: one.calibration.error.value for one in evaluation.groups["level"] + evaluation.groups["place"]}
        for told, evaluation in of.items()
    }
    # Two dates of one place, Morocco, are all that there is of L1C; a single look at it is too unsure by as much.
    for level, most in (("L1C, several looks", 0.11), ("L2A, several looks", 0.035)):
        assert errors["published"][level] < most and errors["cross-fitted"][level] < most
        assert errors["published"][level] < errors["share"][level] > 0.035
    for place in PLACES:
        assert errors["cross-fitted"][f"{place}, several looks"] < 0.11
    assert of["published"].pooled.overall == of["share"].pooled.overall, "the class is the same"
