"""The frame round a block, and the chips that it is cut into."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.clear import CLOUD_EDGE
from catalog.errors import BadInput
from catalog.grid import Block
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from pipelines.classify import CHIP, Frame, _pieces


def spec(stride, halo):
    return ModelSpec(id="unet", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=stride, halo=halo)


@pytest.mark.parametrize(("stride", "halo"), [(8, 48), (16, 50), (4, 0), (1, 7)])
def test_margin_and_halo_are_multiples_of_the_stride_and_large_enough(stride, halo):
    frame = Frame.of(spec(stride, halo))
    assert frame.margin % stride == frame.halo % stride == 0
    assert frame.margin > CLOUD_EDGE and halo <= frame.halo < halo + stride


def test_a_stride_on_which_blocks_do_not_begin_is_refused():
    with pytest.raises(BadInput, match="stride of 32 px"):
        Frame.of(spec(32, 32))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 50), st.integers(1, 400), st.sampled_from([1, 4, 8, 16]))
def test_pieces_cover_a_range_once_and_begin_on_the_stride(start, length, stride):
    start, stop = start * stride, (start + length) * stride
    pieces = list(_pieces(start, stop, CHIP[0], stride))
    assert [first for first, _ in pieces] == [start, *(last for _, last in pieces[:-1])]
    assert pieces[-1][1] == stop
    assert all(0 < last - first <= CHIP[0] and first % stride == 0 for first, last in pieces)


def test_blocks_are_cut_into_few_chips():
    largest = Block(0, 0, 2064, 0, 2064)
    assert len(list(_pieces(0, largest.shape[0] + 16, CHIP[0], 8))) == 2
