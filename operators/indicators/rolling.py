"""The common maths of columns: rolling means, z scores, percentile ranks, weighted means and slopes.

Every window is read afresh per row, oldest to newest, so a value depends on its window alone and not on where the history
began. A window holds a number of rows; NaN in it are skipped where the function says so.
"""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import clip, kernel


@kernel
def moments(x: Array, since: int, until: int) -> tuple[int, float, float]:
    """(count, mean, population variance) of the finite values of rows [since, until); mean and variance NaN if there are none.

    >>> moments(np.array([1.0, np.nan, 3.0]), 0, 3)
    (2, 2.0, 1.0)
    """
    count, total, squares = 0, 0.0, 0.0
    for i in range(since, until):
        if math.isfinite(x[i]):
            count += 1
            total += x[i]
    if count == 0:
        return 0, math.nan, math.nan
    mean = total / count
    for i in range(since, until):
        if math.isfinite(x[i]):
            squares += (x[i] - mean) * (x[i] - mean)
    return count, mean, squares / count


@kernel
def rolling_mean(x: Array, window: int) -> Array:
    """The mean of the last `window` values including this one, in units of x.

    NaN are skipped; fewer than window // 2 finite values give NaN. First index window - 1; stable length: the window. Source:
    file 00 section 9.

    >>> rolling_mean(np.array([1.0, 2.0, 6.0, np.nan]), 2).tolist()
    [nan, 1.5, 4.0, 6.0]
    """
    out = np.full(len(x), math.nan)
    for t in range(window - 1, len(x)):
        count, mean, _ = moments(x, t - window + 1, t + 1)
        if count >= window // 2:
            out[t] = mean
    return out


@kernel
def rolling_variance(x: Array, window: int) -> Array:
    """The population variance of the last `window` values including this one, in squared units of x, >= 0.

    NaN are skipped; fewer than window // 2 finite values give NaN. First index window - 1; stable length: the window. Source:
    file 00 section 9.

    >>> rolling_variance(np.array([1.0, 3.0, 3.0, 9.0]), 2).tolist()
    [nan, 1.0, 0.0, 9.0]
    """
    out = np.full(len(x), math.nan)
    for t in range(window - 1, len(x)):
        count, _, variance = moments(x, t - window + 1, t + 1)
        if count >= window // 2:
            out[t] = variance
    return out


@kernel
def z_score(x: Array, window: int = 256, minimum: int = 32, since: int = 0) -> Array:
    """How many standard deviations x stands from the mean of the finite values of the `window` rows before it, in [-4, 4].

    NaN where x is, where fewer than `minimum` of those rows are finite, or where they do not vary. First index `minimum` rows
    after the first of x; stable length: the window; no H of its own. Rows before `since` are left NaN. Source: file 00 section 9.

    >>> z_score(np.arange(1.0, 35.0))[31:].round(12).tolist()
    [nan, 1.787050191544, 1.785357107136]
    """
    out = np.full(len(x), math.nan)
    for t in range(since, len(x)):
        if not math.isfinite(x[t]):
            continue
        count, mean, variance = moments(x, max(t - window, 0), t)
        if count < max(minimum, 1):
            continue
        deviation = math.sqrt(variance)
        if deviation > 1e-12 * max(1.0, abs(mean)):
            out[t] = clip((x[t] - mean) / deviation, -4.0, 4.0)
    return out


@kernel
def percentile_rank(x: Array, window: int, since: int = 0) -> Array:
    """The share of the finite values of the `window` rows before x that are smaller, equal ones counting half, in [0, 1].

    NaN where x is, or where fewer than window // 4 of those rows are finite. First index window // 4 rows after the first of x;
    stable length: the window; no H of its own. Rows before `since` are left NaN. Source: file 00 section 9.

    >>> percentile_rank(np.array([1.0, 2.0, 3.0, 2.0, 9.0]), 4).tolist()
    [nan, 1.0, 1.0, 0.5, 1.0]
    """
    out = np.full(len(x), math.nan)
    for t in range(since, len(x)):
        if not math.isfinite(x[t]):
            continue
        count, less, equal = 0, 0, 0
        for i in range(max(t - window, 0), t):
            if math.isfinite(x[i]):
                count += 1
                less += x[i] < x[t]
                equal += x[i] == x[t]
        if count >= max(window // 4, 1):
            out[t] = (less + equal / 2.0) / count
    return out


@kernel
def weighted_mean(x: Array, length: int) -> Array:
    """WMA: the mean of the last `length` values with weights 1, 2, ... to `length` for the newest, in units of x.

    NaN where one of them is. First index length - 1; stable length: `length`. Source: file 00 section 9.

    >>> weighted_mean(np.array([44.25, 43.75, 44.5, 45.0, 44.75]), 5).round(12).tolist()
    [nan, nan, nan, nan, 44.6]
    """
    out = np.full(len(x), math.nan)
    weights = length * (length + 1) / 2.0
    for t in range(length - 1, len(x)):
        total = 0.0
        for i in range(length):
            total += (i + 1) * x[t - length + 1 + i]
        out[t] = total / weights if math.isfinite(total) else math.nan
    return out


@kernel
def ols_slope(x: Array, window: int) -> Array:
    """The least squares slope of the last `window` values on 0, 1, ..., in units of x per row; 0 where they are equal.

    NaN where one of them is. First index window - 1; stable length: the window. Source: file 00 section 9, ordinary least
    squares with intercept; the values enter as differences to the oldest.

    >>> ols_slope(np.array([5.0, 7.0, 9.0, 9.0]), 3).tolist()
    [nan, nan, 2.0, 1.0]
    """
    out = np.full(len(x), math.nan)
    middle = (window - 1) / 2.0
    spread = window * (window * window - 1.0) / 12.0  # sum of squared distances of 0, 1, ... to their middle
    for t in range(window - 1, len(x)):
        oldest = x[t - window + 1]
        total = 0.0
        for i in range(window):
            total += (i - middle) * (x[t - window + 1 + i] - oldest)
        out[t] = total / spread if math.isfinite(total) else math.nan
    return out
