"""Momentum that TA-Lib does not have."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import kernel


@kernel
def awesome_oscillator(high: Array, low: Array, fast: int = 5, slow: int = 34) -> Array:
    """ao_5_34: mean of the bars' middles over `fast` bars less that over `slow` bars, in price units.

    Middle: (H + L) / 2. First index slow - 1; H 64, stable length `slow`. Source: file 03 section 1; Bill Williams' oscillator.

    >>> awesome_oscillator(np.array([2.0, 4.0, 6.0]), np.array([0.0, 2.0, 4.0]), 1, 3).tolist()
    [nan, nan, 2.0]
    """
    out = np.full(len(high), math.nan)
    for t in range(slow - 1, len(high)):
        total, newest = 0.0, 0.0
        for i in range(t - slow + 1, t + 1):
            middle = (high[i] + low[i]) / 2.0
            total += middle
            if i > t - fast:
                newest += middle
        out[t] = newest / fast - total / slow
    return out
