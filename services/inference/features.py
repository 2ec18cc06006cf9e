"""Features: what a trained U-Net holds at each of its levels, from which more can be learned without changing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from catalog.errors import BadInput


def tapped(file: Path) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A U-Net that gives its features beside its scores.

    They are what is halved on the way down, what is doubled on the way up, and what the last convolution sees. What has
    a value for each pixel is averaged over two by two, since all else that is done on every pixel costs time.

    Args:
        file: ONNX file, as `landloom export` writes it.

    Returns:
        The network with its features as outputs after its scores, and their names.

    Raises:
        BadInput: it is no U-Net.
    """
    model = onnx.load(file)
    graph = model.graph
    halved, doubled, seen = (
        [node.input[0] for node in graph.node if node.op_type == kind] for kind in ("MaxPool", "ConvTranspose", "Conv")
    )
    if not halved or len(halved) != len(doubled):
        raise BadInput(
            f"{str(file)!r} is no U-Net: it halves {len(halved)} times and doubles {len(doubled)} times. "
            "Give a network that `landloom export` wrote."
        )
    first, last = (f"{name}_averaged" for name in (halved[0], seen[-1]))
    for name, averaged in ((halved[0], first), (seen[-1], last)):
        node = onnx.helper.make_node("AveragePool", [name], [averaged], kernel_shape=[2, 2], strides=[2, 2])
        graph.node.append(node)
    names = (first, *halved[1:], *doubled, last)
    shape = ["n", None, None, None]
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in names)
    return model, names


class Features:
    """Runs a U-Net for its features."""

    def __init__(self, file: Path, side: int = 64):
        """Open it.

        Args:
            file: ONNX file.
            side: pixels of an image that it takes, a multiple of its stride.

        Raises:
            BadInput: it is no U-Net.
        """
        model, self._names = tapped(file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        (image,) = self._session.get_inputs()
        self._image = image.name
        found = self.of(np.zeros((image.shape[1], side, side), np.uint16))
        self.channels = tuple(len(one) for one in found)
        self.strides = tuple(side // one.shape[1] for one in found)

    def of(self, image: np.ndarray) -> list[np.ndarray]:
        """Features of an image.

        Args:
            image: uint16 `[bands, H, W]`.

        Returns:
            float32 `[channels, H / stride, W / stride]` each.
        """
        return [one[0] for one in self._session.run(list(self._names), {self._image: image[np.newaxis]})]
