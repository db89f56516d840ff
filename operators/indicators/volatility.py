"""Volatility and location of price over windows of bars, each window read afresh, oldest to newest."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import kernel

MINUTES_PER_YEAR = 525_600.0


@kernel
def realised_volatility(close: Array, timeframe_minutes: float, length: int = 60) -> Array:
    """rv_60: annualised realised volatility, a fraction of price per root year, >= 0.

    sqrt(mean squared log return of `length` bars * 525600 / timeframe in minutes). First index `length`; H 64, stable length
    61. Source: file 03 section 9.

    >>> realised_volatility(np.array([100.0, 100.0, 101.0]), 525600.0, 2).round(12).tolist()
    [nan, nan, 0.007035946421]
    """
    n = len(close)
    squares, out = np.full(n, math.nan), np.full(n, math.nan)
    for t in range(1, n):
        change = math.log(close[t] / close[t - 1])
        squares[t] = change * change
    for t in range(length, n):
        total = 0.0
        for i in range(t - length + 1, t + 1):
            total += squares[i]
        out[t] = math.sqrt(total / length * (MINUTES_PER_YEAR / timeframe_minutes))
    return out


@kernel
def parkinson_volatility(high: Array, low: Array, length: int = 60) -> Array:
    """park_60: volatility per bar from the ranges of `length` bars, a fraction of price, >= 0.

    sqrt(sum ln(H/L)^2 / (4 length ln 2)). First index length - 1; H 64, stable length 60. Source: file 03 section 9; Parkinson
    1980.

    >>> parkinson_volatility(np.array([101.0, 102.0]), np.array([100.0, 100.0]), 2).round(12).tolist()
    [nan, 0.009411324214]
    """
    n = len(high)
    squares, out = np.empty(n), np.full(n, math.nan)
    for t in range(n):
        span = math.log(high[t] / low[t])
        squares[t] = span * span
    for t in range(length - 1, n):
        total = 0.0
        for i in range(t - length + 1, t + 1):
            total += squares[i]
        out[t] = math.sqrt(total / (4.0 * length * math.log(2.0)))
    return out


@kernel
def efficiency_ratio(close: Array, length: int = 20) -> Array:
    """er_20: the way price came over `length` bars as a share of the way it went, in [0, 1]; 0 if it did not move.

    |C - C of `length` bars ago| / sum |change of close|. First index `length`; H 64, stable length 21. Source: file 03 section 9.

    >>> efficiency_ratio(np.array([1.0, 2.0, 3.0, 2.0, 2.0, 2.0]), 2).tolist()
    [nan, nan, 1.0, 0.0, 1.0, 0.0]
    """
    out = np.full(len(close), math.nan)
    for t in range(length, len(close)):
        path = 0.0
        for i in range(t - length + 1, t + 1):
            path += abs(close[i] - close[i - 1])
        out[t] = min(abs(close[t] - close[t - length]) / path, 1.0) if path > 0.0 else 0.0
    return out


@kernel
def range_position(high: Array, low: Array, close: Array, length: int = 50) -> Array:
    """range_pos: where the close stands between lowest low and highest high of `length` bars, in [0, 1]; 0.5 if flat.

    First index length - 1; H 64, stable length 50. Source: file 03 section 8.

    >>> range_position(np.array([4.0, 5.0]), np.array([1.0, 3.0]), np.array([2.0, 4.0]), 2).tolist()
    [nan, 0.75]
    """
    out = np.full(len(close), math.nan)
    for t in range(length - 1, len(close)):
        highest, lowest = high[t], low[t]
        for i in range(t - length + 1, t):
            highest = max(highest, high[i])
            lowest = min(lowest, low[i])
        out[t] = (close[t] - lowest) / (highest - lowest) if highest > lowest else 0.5
    return out
