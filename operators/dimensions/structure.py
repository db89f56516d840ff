"""The structure dimension: where the price stands."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score, as_it_is
from operators.indicators.regime import trend_weight
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


@kernel
def range_position_score(range_pos: Array, adx: Array) -> Array:
    """With a trend, the place in the range of 50 bars is followed; without one, it is faded.

    >>> range_position_score(np.array([1.0, 1.0, 0.5]), np.array([40.0, 10.0, 30.0])).tolist()
    [1.0, -1.0, 0.0]
    """
    out = np.empty(len(adx))
    for i in range(len(adx)):
        out[i] = (2.0 * range_pos[i] - 1.0) * (2.0 * trend_weight(adx[i]) - 1.0)
    return out


@kernel
def support_resistance_score(adx: Array, above: Array, below: Array) -> Array:
    """Nearer to support than to resistance is up, as far as there is no trend.

    >>> support_resistance_score(np.array([20.0, 40.0]), np.array([3.0, 3.0]), np.array([1.0, 1.0])).tolist()
    [0.5, 0.0]
    """
    out = np.empty(len(adx))
    for i in range(len(adx)):
        out[i] = (1.0 - trend_weight(adx[i])) * (above[i] - below[i]) / (above[i] + below[i])
    return out


STRUCTURE = (
    Score("bos", "structure", 0.30, ("bos_score",), as_it_is),
    Score("trend_position", "structure", 0.25, ("close", "ema_50", "atr_14"), trend_position_score),
    Score("range_position", "structure", 0.15, ("range_pos", "adx_14"), range_position_score),
    Score("support_resistance", "structure", 0.15, ("adx_14", "d_res", "d_sup"), support_resistance_score),
)
