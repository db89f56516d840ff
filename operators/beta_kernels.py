"""Kernels of bitcoin beta: regressions on a reference over windows of pairs of returns, and what they leave unexplained.

All sums run from the oldest pair to the newest, so a value depends on the pairs of its window alone.
"""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from events.schema import SYNTHETIC
from operators.indicators.rolling import z_score
from operators.maths import clip, kernel, squash

LEAST_PAIRS = 60
"""Pairs without which nothing is said; also the short window of the breakdown of correlation."""
MOMENTUM_PAIRS = 20
Z_PAIRS = 256
LEAST_Z = 32
BREAKDOWN = 0.25
NORMAL_99 = 2.3263478740408408
"""99 % quantile of the normal distribution: above it, a one-sided p is below 0.01."""
COEFFICIENTS = 6
"""How many numbers of a window there are: beta, alpha, rho, R2, t of alpha, breakdown of correlation."""


@kernel
def log_returns(close: Array, g: Array, flags: Array, last_close: float, last_g: int) -> Array:
    """ln(C_t / C_{t-1}) per bar; NaN where the bar before it is not there, and of a synthetic bar. `last_*` are of the bar before.

    >>> one = np.zeros(3, np.uint16)
    >>> log_returns(np.array([1.0, 2.0, 2.0]), np.array([4, 5, 7]), one, 1.0, 3).round(3).tolist()
    [0.0, 0.693, nan]
    """
    out = np.full(len(close), math.nan)
    for i in range(len(close)):
        if g[i] == last_g + 1 and not flags[i] & SYNTHETIC:
            out[i] = math.log(close[i] / last_close)
        last_close, last_g = close[i], g[i]
    return out


@kernel
def regress(y: Array, x: Array, since: int, until: int) -> tuple[float, float, float]:
    """(alpha, beta, rho) of y = alpha + beta x by least squares over rows [since, until); NaN where x does not vary, rho also
    where y does not.

    >>> alpha, beta, rho = regress(np.array([3.0, 5.0, 7.0]), np.array([1.0, 2.0, 3.0]), 0, 3)
    >>> alpha, beta, round(rho, 12)
    (1.0, 2.0, 1.0)
    """
    n = until - since
    if n <= 0:
        return math.nan, math.nan, math.nan
    total_x, total_y = 0.0, 0.0
    for i in range(since, until):
        total_x += x[i]
        total_y += y[i]
    mean_x, mean_y = total_x / n, total_y / n
    s_xx, s_yy, s_xy = 0.0, 0.0, 0.0
    for i in range(since, until):
        s_xx += (x[i] - mean_x) * (x[i] - mean_x)
        s_yy += (y[i] - mean_y) * (y[i] - mean_y)
        s_xy += (x[i] - mean_x) * (y[i] - mean_y)
    if math.sqrt(s_xx / n) <= 1e-12 * max(1.0, abs(mean_x)):
        return math.nan, math.nan, math.nan
    beta = s_xy / s_xx
    varies = math.sqrt(s_yy / n) > 1e-12 * max(1.0, abs(mean_y))
    rho = clip(s_xy / math.sqrt(s_yy * s_xx), -1.0, 1.0) if varies else math.nan
    return mean_y - beta * mean_x, beta, rho


@kernel
def lags_of(n: int) -> int:
    """How many lags Newey-West errors of n rows take: floor(4 (n / 100)^(2/9)).

    >>> lags_of(240), lags_of(60)
    (4, 3)
    """
    return math.floor(4.0 * math.pow(n / 100.0, 2.0 / 9.0))


@kernel
def t_of_alpha(y: Array, x: Array, since: int, until: int, alpha: float, beta: float, lags: int) -> float:
    """The t statistic of alpha with errors that bear heteroscedasticity and autocorrelation; NaN where there are none.

    Bartlett weights 1 - l / (lags + 1), no correction for small samples. Source: Newey and West 1987; file 05 section 5.
    """
    n = until - since
    total = 0.0
    for i in range(since, until):
        total += x[i]
    mean, s_xx = total / n, 0.0
    for i in range(since, until):
        s_xx += (x[i] - mean) * (x[i] - mean)
    influence = np.empty(n)  # alpha - its estimate is the sum of these
    for i in range(n):
        at = x[since + i]
        influence[i] = (1.0 / n - mean * (at - mean) / s_xx) * (y[since + i] - alpha - beta * at)
    variance = 0.0
    for lag in range(lags + 1):
        covariance = 0.0
        for i in range(lag, n):
            covariance += influence[i] * influence[i - lag]
        variance += covariance if lag == 0 else 2.0 * (1.0 - lag / (lags + 1.0)) * covariance
    return alpha / math.sqrt(variance) if variance > 1e-32 else math.nan


@kernel
def breaks_down(recent: float, n_recent: int, usual: float, n_usual: int) -> float:
    """1 if a correlation is more than 0.25 below the usual one and, by Fisher's z, significantly so (one-sided p < 0.01), else 0.

    >>> breaks_down(0.2, 60, 0.8, 240), breaks_down(0.7, 60, 0.8, 240)
    (1.0, 0.0)
    """
    if math.isnan(recent) or math.isnan(usual):
        return math.nan
    most = 1.0 - 1e-15
    a, b = clip(recent, -most, most), clip(usual, -most, most)
    difference = 0.5 * (math.log((1.0 + b) / (1.0 - b)) - math.log((1.0 + a) / (1.0 - a)))
    error = math.sqrt(1.0 / (n_recent - 3.0) + 1.0 / (n_usual - 3.0))
    return 1.0 if recent < usual - BREAKDOWN and difference / error > NORMAL_99 else 0.0


@kernel
def follow(own: Array, reference: Array, e: Array, total: Array, known: int, seen: int, window: int) -> Array:
    """What is said at each new pair. Rows up to `known` are remembered pairs, `seen` is how many there ever were.

    `e` and `total` are filled from `known` on: residuals out of sample, and sums of the last 20 of them. Columns of the result:
    those of the window before the pair (`COEFFICIENTS`), then the residual, its z, and the direction of residual momentum.
    """
    n = len(own)
    out = np.full((n - known, COEFFICIENTS + 3), math.nan)
    for i in range(known, n):
        e[i] = total[i] = math.nan
        before = seen + i - known
        if before < LEAST_PAIRS:
            continue
        row, since = out[i - known], i - min(before, window)
        alpha, beta, rho = regress(own, reference, since, i)
        _, _, recent = regress(own, reference, i - LEAST_PAIRS, i)
        row[0], row[1], row[2], row[3] = beta, alpha, rho, rho * rho
        if not math.isnan(beta):
            row[4] = t_of_alpha(own, reference, since, i, alpha, beta, lags_of(i - since))
        row[5] = breaks_down(recent, LEAST_PAIRS, rho, i - since)
        row[6] = e[i] = own[i] - alpha - beta * reference[i]
        if before >= LEAST_PAIRS + MOMENTUM_PAIRS - 1:
            total[i] = 0.0
            for k in range(i - MOMENTUM_PAIRS + 1, i + 1):
                total[i] += e[k]
    z, momentum = z_score(e, Z_PAIRS, LEAST_Z, known), z_score(total, Z_PAIRS, LEAST_Z, known)
    for i in range(known, n):
        out[i - known, 7] = z[i]
        out[i - known, 8] = squash(momentum[i])
    return out
