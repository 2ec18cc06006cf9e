"""What other sensors tell of their pixels, in the values of Sentinel-2's scene classification: one rule for all.

QA_PIXEL is that of Landsat Collection 2 (USGS product guides LSDS-1618 and LSDS-1619), Fmask that of HLS 2.0 (its User
Guide).
"""

from __future__ import annotations

import numpy as np

from catalog.errors import SceneUnreadable
from catalog.sensors import SensorName

SHADOW, WATER, UNCLASSIFIED, CLOUD_MEDIUM, CLOUD, CIRRUS, SNOW = 3, 6, 7, 8, 9, 10, 11
"""Values of the scene classification; 0 is no data."""
_NONE = 255
"""Not a value that QA_PIXEL can have."""


def as_classification(values: np.ndarray, sensor: SensorName) -> np.ndarray:
    """A sensor's own flags as values of the scene classification.

    What is near a cloud (QA_PIXEL's dilated cloud, Fmask's adjacent) becomes shadow, which is left out as it is: it
    needs no edge of its own.

    Args:
        values: of the scene's file, `[H, W]`: SCL, QA_PIXEL or Fmask.
        sensor: whose they are.

    Returns:
        uint8 `[H, W]`.

    Raises:
        SceneUnreadable: they are no flags of that sensor.
    """
    if sensor == "sentinel-2":
        return values
    table, wanted = (_QA_PIXEL, "uint16") if sensor == "landsat" else (_FMASK, "uint8")
    if values.dtype != wanted:
        raise SceneUnreadable(f"whose cloud flags are {values.dtype}, not {wanted}")
    found = table[values]
    if (found == _NONE).any():
        strange = int(values[found == _NONE].flat[0])
        raise SceneUnreadable(f"whose QA_PIXEL holds {strange}, which tells nothing of clouds: is it of Collection 2?")
    return found


def _qa_pixel() -> np.ndarray:
    values = np.arange(1 << 16)

    def bit(number: int) -> np.ndarray:
        return (values >> number & 1).astype(bool)

    sure = values >> 8 & 3
    # Of several flags the first of these counts. Every pixel that was seen tells how sure it is of its cloud.
    flags = (
        (bit(0), 0),
        (sure == 0, _NONE),
        (bit(3), CLOUD),
        (sure == 2, CLOUD_MEDIUM),
        (bit(2), CIRRUS),
        (bit(4) | bit(1), SHADOW),
        (bit(5), SNOW),
        (bit(7), WATER),
    )
    return np.select([flag for flag, _ in flags], [value for _, value in flags], UNCLASSIFIED).astype(np.uint8)


def _fmask() -> np.ndarray:
    values = np.arange(1 << 8)

    def bit(number: int) -> np.ndarray:
        return (values >> number & 1).astype(bool)

    # Bits 6 and 7 tell the aerosol, which bright towns have much of: not used.
    flags = (
        (values == 255, 0),
        (bit(1), CLOUD),
        (bit(0), CIRRUS),
        (bit(3) | bit(2), SHADOW),
        (bit(4), SNOW),
        (bit(5), WATER),
    )
    return np.select([flag for flag, _ in flags], [value for _, value in flags], UNCLASSIFIED).astype(np.uint8)


_QA_PIXEL, _FMASK = _qa_pixel(), _fmask()
