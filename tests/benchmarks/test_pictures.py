"""The pictures of the card: each chip beside its labels and what the network says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.pictures import CHIPS, draw_chips
from services.inference import DEFAULT_MODEL
from tests.services.inference.test_evaluate import chip


def test_each_chip_stands_beside_its_labels_and_what_the_network_says():
    figure = draw_chips([chip(name) for name in CHIPS.values()], DEFAULT_MODEL)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert len(titles) == 3 * len(CHIPS)
    assert [title.split(",")[0] for title in titles if title] == [*CHIPS]
    image, labels, found = (np.asarray(axis.get_images()[0].get_array()) for axis in figure.axes[:3])
    assert image.shape == labels.shape == found.shape == (128, 128, 3)
    assert len(np.unique(labels.reshape(-1, 3), axis=0)) == 3, "water, crops, and rows without a label"
    plt.close(figure)
