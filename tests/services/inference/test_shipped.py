"""The networks that come with Landloom: what they say of themselves, and that chips leave no trace."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, Network
from catalog.scenes import BANDS
from catalog.tree import class_tree
from services.inference import DEFAULT_MODEL, DEFAULT_MODELS, model_spec, open_network, shipped_models

HALO, KEPT = 48, 128


@pytest.fixture(scope="module", params=[*DEFAULT_MODELS.values(), "unet-finer"])
def network(request) -> Network:
    return open_network(request.param)


@pytest.fixture(scope="module")
def landscape() -> np.ndarray:
    """Fields, dark and bright places, noise, and a gap without data: uint16 `[6, 352, 480]`."""
    random = np.random.default_rng(3)
    shape = (len(BANDS), HALO * 2 + KEPT * 2, HALO * 2 + KEPT * 3)
    coarse, fine = (gaussian_filter(random.normal(size=shape), (0, width, width)) for width in (20, 2))
    image = np.exp(7.2 + 0.8 * coarse / coarse.std() + 0.3 * fine / fine.std())
    image = np.clip(image, 1, 12_000).astype(np.uint16)
    image[:, 100:170, 200:290] = 0
    return image


def tiled(network: Network, image: np.ndarray, halo: int) -> np.ndarray:
    """Scores within `HALO` of the image's border, cut into chips that keep `KEPT` px."""
    rows, cols = ((size - 2 * HALO) // KEPT for size in image.shape[1:])
    scores = np.zeros((len(network.spec.classes), rows * KEPT, cols * KEPT), np.uint8)
    for row in range(0, rows * KEPT, KEPT):
        for col in range(0, cols * KEPT, KEPT):
            top, left = row + HALO - halo, col + HALO - halo
            chip = image[:, top : top + KEPT + 2 * halo, left : left + KEPT + 2 * halo]
            found = network.scores(np.ascontiguousarray(chip)[np.newaxis])[0]
            scores[:, row : row + KEPT, col : col + KEPT] = found[:, halo : halo + KEPT, halo : halo + KEPT]
    return scores


@pytest.mark.parametrize(("gsd", "name"), DEFAULT_MODELS.items())
def test_each_resolutions_network_is_shipped_small_and_tells_what_it_takes_and_gives(gsd, name):
    file = shipped_models()[name]
    assert file.stat().st_size < 5_000_000 and file.with_suffix(".md").is_file()
    spec = model_spec(name)
    assert (spec.id, spec.gsd, spec.bands, spec.classes) == (name, gsd, BANDS, MODEL_CLASSES)
    assert len(spec.sha256) == 64


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "unet-finer"])
def test_the_same_is_shipped_in_floats(name, landscape):
    integers, floats = open_network(name), open_network(f"{name}.float32")
    assert shipped_models()[f"{name}.float32"].stat().st_size < 6_000_000
    told = {"exclude": {"sha256", "vote"}}
    assert integers.spec.model_dump(**told) == floats.spec.model_dump(**told)
    one, other = (network.scores(landscape[np.newaxis])[0].argmax(axis=0) for network in (integers, floats))
    assert 0.93 < (one == other).mean() < 1, "this is no landscape that either has learned"


def test_finer_classes_add_up_to_what_the_network_without_them_says(landscape):
    finer, ten = (open_network(name) for name in ("unet-finer", DEFAULT_MODEL))
    assert shipped_models()["unet-finer"].with_suffix(".md").is_file()
    tree = class_tree(finer.spec.parents, "unet-finer")
    assert finer.spec.classes == tree.leaves and len(tree.leaves) == 13
    told = finer.scores(landscape[np.newaxis])[0].astype(int)
    for name, scores in zip(MODEL_CLASSES, ten.scores(landscape[np.newaxis])[0], strict=True):
        parts = [tree.leaves.index(leaf) for leaf in tree.under(name)]
        assert np.array_equal(told[parts].sum(axis=0), scores), name


def test_scores_are_shares_of_255(network, landscape):
    scores = network.scores(np.stack([landscape[:, :128, :64]] * 2))
    assert (scores.dtype, scores.shape) == (np.uint8, (2, len(network.spec.classes), 128, 64))
    # Ten rounded numbers may miss their rounded sum by half a unit each.
    assert np.abs(scores.sum(axis=1, dtype=int) - 255).max() <= 5


def test_chips_leave_no_trace(network, landscape):
    whole = network.scores(landscape[np.newaxis])[0][:, HALO:-HALO, HALO:-HALO]
    pieces = tiled(network, landscape, network.spec.halo)
    assert np.abs(whole.astype(int) - pieces).max() <= 1
    assert (whole.argmax(axis=0) != pieces.argmax(axis=0)).mean() < 1e-4


def test_a_smaller_halo_would_leave_one(network, landscape):
    whole = network.scores(landscape[np.newaxis])[0][:, HALO:-HALO, HALO:-HALO]
    pieces = tiled(network, landscape, network.spec.halo - 3 * network.spec.stride)
    assert np.abs(whole.astype(int) - pieces).max() > 1


def test_a_gap_is_felt_no_further_than_the_halo(network, landscape):
    filled = landscape.copy()
    filled[:, 100:170, 200:290] = 1500
    differs = (network.scores(landscape[np.newaxis]) != network.scores(filled[np.newaxis]))[0].any(axis=0)
    rows, cols = np.nonzero(differs)
    reach = network.spec.halo + network.spec.stride
    assert 100 - reach <= rows.min() <= rows.max() < 170 + reach
    assert 200 - reach <= cols.min() <= cols.max() < 290 + reach


def test_chips_of_a_batch_do_not_touch_each_other(network, landscape):
    pair = np.stack([landscape[:, :128, :128], landscape[:, 128:256, 128:256]])
    together, alone = network.scores(pair)[1].astype(int), network.scores(pair[1:])[0]
    # One score in a million is rounded the other way, since sums are taken in another order.
    assert np.abs(together - alone).max() <= 1 and (together != alone).mean() < 1e-4


@pytest.mark.parametrize("shape", [(1, 6, 98, 128), (1, 5, 128, 128), (6, 128, 128), (1, 6, 0, 128)])
def test_chips_off_the_stride_are_refused(network, shape):
    with pytest.raises(ValueError, match=f"multiples of {network.spec.stride}"):
        network.scores(np.zeros(shape, np.uint16))


def test_an_unknown_network_is_named_with_those_shipped():
    with pytest.raises(BadInput, match=f"'unet-huge'.*{DEFAULT_MODEL}"):
        open_network("unet-huge")


def test_inference_needs_no_torch():
    code = "import sys, services.inference as s; s.open_network(s.DEFAULT_MODEL); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
