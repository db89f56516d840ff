"""The structure dimension: where the price stands."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score
from operators.maths import kernel


@kernel
def trend_position_score(close: Array, ema: Array, atr: Array) -> Array:
    """Tanh of the distance to EMA50 in two ATR; missing where ATR is 0.

    >>> float(round(trend_position_score(np.array([116.5]), np.array([109.83580925621912]), np.array([2.2256754568523833]))[0], 3))
    0.905
    """
    out = np.empty(len(close))
    for i in range(len(close)):
        out[i] = math.tanh((close[i] - ema[i]) / (2.0 * atr[i])) if atr[i] != 0.0 else math.nan
    return out


STRUCTURE = (Score("trend_position", "structure", 0.25, ("close", "ema_50", "atr_14"), trend_position_score),)
