"""Figures as people read them."""

from __future__ import annotations

import math


def figure_told(value: float, decimals: int = 1) -> str:
    """A figure for people; of one below 1 two digits that count, so that what is rare is not told as 0.0.

    >>> figure_told(1234.56), figure_told(0.0286), figure_told(0.0)
    ('1,234.6', '0.029', '0.0')
    """
    small = 0 < abs(value) < 1
    return f"{value:,.{max(decimals, min(6, 1 - math.floor(math.log10(abs(value))))) if small else decimals}f}"
