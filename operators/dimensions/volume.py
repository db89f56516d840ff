"""The volume dimension: participation."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score, as_it_is
from operators.maths import kernel, squash


@kernel
def squash_score(z: Array) -> Array:
    """tanh(z / 2).

    >>> float(round(squash_score(np.array([1.0]))[0], 12))
    0.46211715726
    """
    out = np.empty(len(z))
    for i in range(len(z)):
        out[i] = squash(z[i])
    return out


@kernel
def vwap_score(close: Array, vwap: Array, band: Array) -> Array:
    """Tanh of the distance to the day's average price in two of its standard deviations; missing where these are 0.

    >>> float(round(vwap_score(np.array([116.5]), np.array([106.0991118401427]), np.array([4.886514603343409]))[0], 2))
    0.79
    """
    out = np.empty(len(close))
    for i in range(len(close)):
        out[i] = math.tanh((close[i] - vwap[i]) / (2.0 * band[i])) if band[i] > 0.0 else math.nan
    return out


@kernel
def participation_score(open_: Array, high: Array, low: Array, close: Array, rvol: Array) -> Array:
    """Where the bar went, as a share of its range, as far as its volume is above the usual; 0 in bars without a range.

    >>> one = np.ones(1)
    >>> participation_score(100.0 * one, 102.0 * one, 99.5 * one, 101.0 * one, 2.0 * one).round(12).tolist()
    [0.24]
    """
    out = np.empty(len(close))
    for i in range(len(close)):
        moved = (close[i] - open_[i]) / (high[i] - low[i]) if high[i] > low[i] else 0.0
        out[i] = moved * math.tanh(max(math.log(rvol[i]), 0.0)) if rvol[i] > 0.0 else 0.0 * rvol[i]
    return out


VOLUME = (
    Score("cmf", "volume", 0.25, ("cmf_20",), as_it_is),
    Score("obv", "volume", 0.20, ("obv_14",), as_it_is),
    Score("adl", "volume", 0.20, ("adl_z",), squash_score),
    Score("vwap", "volume", 0.20, ("close", "vwap_d", "vwap_band"), vwap_score),
    Score("rvol", "volume", 0.15, ("open", "high", "low", "close", "rvol"), participation_score),
)
