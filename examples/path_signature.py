"""The signature of the path of the last 20 bars, to depth 3: 155 numbers that describe its shape, compiled.

The path has five channels: time, log return, volume, absolute log return and range. See T. Lyons, "Rough paths, signatures and the
modelling of functions on streams" (2014).

tidewax laws examples/path_signature.py
"""

import math

import numba
import numpy as np

from tidewax import indicator

BARS, CHANNELS = 20, 5
COLUMNS = tuple(f"sig_{k}" for k in range(1, CHANNELS + CHANNELS**2 + CHANNELS**3 + 1))


@numba.njit(cache=True)
def extend(first, second, third, step):
    """Append a straight piece to a path: Chen's identity, with the old values on the right."""
    n = len(step)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                both = step[j] * step[k]
                third[i, j, k] += second[i, j] * step[k] + first[i] * both / 2.0 + step[i] * both / 6.0
    for i in range(n):
        for j in range(n):
            second[i, j] += first[i] * step[j] + step[i] * step[j] / 2.0
    for i in range(n):
        first[i] += step[i]


@numba.njit(cache=True)
def signatures(high, low, close, volume):
    """A row per bar; NaN before bar 20, and where the window has no return, volume or range."""
    out = np.full((len(close), CHANNELS + CHANNELS**2 + CHANNELS**3), math.nan)
    step = np.empty(CHANNELS)
    for t in range(BARS, len(close)):
        returns, volumes, ranges = 0.0, 0.0, 0.0
        for i in range(t - BARS + 1, t + 1):
            returns += abs(math.log(close[i] / close[i - 1]))
            volumes += volume[i]
            ranges += math.log(high[i] / low[i])
        if returns == 0.0 or volumes == 0.0 or ranges == 0.0:
            continue
        first, second = np.zeros(CHANNELS), np.zeros((CHANNELS, CHANNELS))
        third = np.zeros((CHANNELS, CHANNELS, CHANNELS))
        for i in range(t - BARS + 1, t + 1):
            r = math.log(close[i] / close[i - 1])
            step[0], step[1], step[2] = 1.0 / BARS, r / returns, volume[i] / volumes
            step[3], step[4] = abs(r) / returns, math.log(high[i] / low[i]) / ranges
            extend(first, second, third, step)
        out[t, :CHANNELS] = first
        out[t, CHANNELS : CHANNELS + CHANNELS**2] = second.ravel()
        out[t, CHANNELS + CHANNELS**2 :] = third.ravel()
    return out


@indicator(columns=COLUMNS, lookback=BARS)
def path_signature(high, low, close, volume):
    """sig_1 to sig_155: depth 1 (5), depth 2 row by row (25), depth 3 (125)."""
    return tuple(np.ascontiguousarray(signatures(high, low, close, volume).T))
