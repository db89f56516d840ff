"""Kernels of the whole market: how many instruments rise, how far they lie apart, how much they move together.

Sums run in the order of the instruments, and within one from the oldest bar to the newest.
"""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from events.schema import BROAD_DOWN, BROAD_UP, HIGHLY_VOLATILE, MIXED, NEVER
from operators.indicators.regime import settle
from operators.maths import kernel

DAY_BARS = 1440
HOUR_BARS = 60
RING = 1446
"""Closes that are kept of an instrument: a day, one more, and as many as may pass until the next 5m bar closes."""
LEAST_KEYS = 5
FIVES = 288
FIVES_OF_30_DAYS = 8640


@kernel
def median_of(values: Array) -> float:
    """The middle of sorted values, or the mean of the two in the middle.

    >>> median_of(np.array([1.0, 2.0, 4.0])), median_of(np.array([1.0, 2.0, 4.0, 9.0]))
    (2.0, 3.0)
    """
    n = len(values)
    middle: float = values[n // 2]
    return middle if n % 2 else (values[n // 2 - 1] + middle) / 2.0


@kernel
def spread_of(returns: Array) -> tuple[float, float, float]:
    """(median, median absolute deviation from it, population standard deviation).

    >>> [round(value, 6) for value in spread_of(np.array([.02, -.01, 0, .005, .03]))]
    [0.005, 0.015, 0.014283]
    """
    middle = median_of(np.sort(returns))
    distances, total = np.empty(len(returns)), 0.0
    for i in range(len(returns)):
        distances[i] = abs(returns[i] - middle)
        total += returns[i]
    mean, squares = total / len(returns), 0.0
    for i in range(len(returns)):
        squares += (returns[i] - mean) * (returns[i] - mean)
    return middle, median_of(np.sort(distances)), math.sqrt(squares / len(returns))


@kernel
def variance_of(values: Array) -> float:
    """The population variance."""
    total, squares = 0.0, 0.0
    for i in range(len(values)):
        total += values[i]
    mean = total / len(values)
    for i in range(len(values)):
        squares += (values[i] - mean) * (values[i] - mean)
    return squares / len(values)


@kernel
def mean_correlation(returns: Array) -> float:
    """The mean correlation of series, one a row, by the variance of their equally weighted mean; NaN where none varies.

    >>> round(mean_correlation(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])), 12)
    1.0
    """
    n, length = returns.shape
    index, variances, deviations = np.zeros(length), 0.0, 0.0
    for k in range(n):
        variance = variance_of(returns[k])
        variances += variance
        deviations += math.sqrt(variance)
        for i in range(length):
            index[i] += returns[k, i]
    for i in range(length):
        index[i] /= n
    rest = deviations * deviations - variances
    return (n * n * variance_of(index) - variances) / rest if rest > 1e-24 else math.nan


@kernel
def remember(closes: Array, newest: Array, first: Array, k: int, g: int, close: float) -> None:
    """Enter the close of bar `g` of instrument `k`; bars that were left out since the newest have none."""
    if newest[k] == NEVER:
        first[k] = g
    else:
        for left_out in range(max(newest[k] + 1, g - RING + 1), g):
            closes[k, left_out % RING] = math.nan
    closes[k, g % RING] = close
    newest[k] = g


@kernel
def forget(closes: Array, newest: Array, k: int) -> None:
    """Forget an instrument."""
    newest[k] = NEVER
    for i in range(RING):
        closes[k, i] = math.nan


@kernel
def realised(closes: Array, first: int, g: int) -> float:
    """The volatility of a year of the last 288 5m returns up to bar `g`, a fraction: sqrt(365 times the sum of their squares).

    NaN with less than a day of bars, without the newest 5m close, or where fewer than 144 of the returns are there.
    """
    at = (g + 1) // 5 * 5 - 1
    if first > at - 5 * FIVES or math.isnan(closes[at % RING]):
        return math.nan
    count, squares = 0, 0.0
    for i in range(FIVES, 0, -1):
        before, after = closes[(at - 5 * i) % RING], closes[(at - 5 * i + 5) % RING]
        if not (math.isnan(before) or math.isnan(after)):
            r = math.log(after / before)
            count += 1
            squares += r * r
    return math.sqrt(squares * 365.0) if count >= FIVES // 2 else math.nan


@kernel
def is_high(value: float, five: int, memory: Array, state: Array) -> bool:
    """Whether a volatility is above its 95 % rank among those of the 30 days of 5m bars before; False while a quarter of them is
    not known. `memory` holds one a 5m bar; `state` is (newest 5m bar, what was said of it).
    """
    if five <= state[0] or math.isnan(value):
        return state[1] == 1 and five == state[0] and not math.isnan(value)
    if state[0] != NEVER:
        for left_out in range(max(state[0] + 1, five - FIVES_OF_30_DAYS), five):
            memory[left_out % FIVES_OF_30_DAYS] = math.nan
    count, less, equal = 0, 0, 0  # what is in the place of the new one is 30 days old, the oldest that counts
    for i in range(FIVES_OF_30_DAYS):
        if not math.isnan(memory[i]):
            count += 1
            less += memory[i] < value
            equal += memory[i] == value
    memory[five % FIVES_OF_30_DAYS] = value
    high = count >= FIVES_OF_30_DAYS // 4 and (less + equal / 2.0) / count > 0.95
    state[0], state[1] = five, 1 if high else 0
    return high


@kernel
def figures(
    closes: Array, counted: Array, g: int, average: Array, average_g: Array, row: Array, hour: Array, day: Array
) -> int:
    """Fill (breadth_up, breadth_net, dispersion_mad, dispersion_sd, mean_rho, above_ema50, median) of one boundary; gives n.

    Of fewer than 5 instruments with a return over 24 hours nothing is said. `hour` and `day` are room for returns.
    """
    n, n_hour, up, down, known, above = 0, 0, 0, 0, 0, 0
    for k in range(len(counted)):
        if not counted[k]:
            continue
        now, before = closes[k, g % RING], closes[k, (g - DAY_BARS) % RING]
        if not math.isnan(before):
            day[n] = now / before - 1.0
            up += day[n] > 0.0
            down += day[n] < 0.0
            n += 1
        whole = True
        for i in range(HOUR_BARS):
            older, newer = closes[k, (g - HOUR_BARS + i) % RING], closes[k, (g - HOUR_BARS + i + 1) % RING]
            if math.isnan(older) or math.isnan(newer):
                whole = False
                break
            hour[n_hour, i] = math.log(newer / older)
        n_hour += whole
        if not math.isnan(average[k]):
            then = closes[k, average_g[k] % RING]
            if not math.isnan(then):
                known += 1
                above += then > average[k]
    row[:] = math.nan
    if n >= LEAST_KEYS:
        row[0], row[1] = up / n, (up - down) / n
        row[6], row[2], row[3] = spread_of(day[:n])
        if n_hour > 1:
            row[4] = mean_correlation(hour[:n_hour])
        if known:
            row[5] = above / known
    return n


@kernel
def label(breadth_up: float, median: float, high: bool) -> int:
    """The market regime of one boundary on its own.

    >>> label(0.6, 0.005, False) == BROAD_UP, label(0.4, -0.1, True) == BROAD_DOWN + HIGHLY_VOLATILE
    (True, True)
    """
    code = MIXED
    if breadth_up >= 0.6 and median > 0.0:
        code = BROAD_UP
    elif breadth_up <= 0.4 and median < 0.0:
        code = BROAD_DOWN
    return code + HIGHLY_VOLATILE if high else code


@kernel
def walk(
    at: Array, g: Array, close: Array, key: Array, counts: Array, times: Array, base_ns: int, average: Array, average_g: Array,
    reference: int, closes: Array, newest: Array, first: Array, memory: Array, volatile: Array, dwell: Array, out: Array,
    codes: Array,
) -> None:  # fmt: skip
    """Go through bars (`counts` 1: of its boundary, 0: late or void, -1: its instrument leaves) and fill a row per time of `times`.

    Columns of `out`: those of `figures`, but the volatility of the reference in the place of the median. `codes` are (n, regime).
    """
    keys, p = len(newest), 0
    counted, hour, day = np.zeros(keys, np.bool_), np.empty((keys, HOUR_BARS)), np.empty(keys)
    for j in range(len(times) + 1):
        counted[:] = False
        while p < len(at) and (j == len(times) or at[p] <= times[j]):
            if counts[p] < 0:
                forget(closes, newest, key[p])
                counted[key[p]] = False
            else:
                remember(closes, newest, first, key[p], g[p], close[p])
                counted[key[p]] = counts[p] == 1
            p += 1
        if j == len(times):
            break
        now = times[j] // base_ns - 1
        n = figures(closes, counted, now, average[j], average_g[j], out[j], hour, day)
        volatility = math.nan
        if reference >= 0 and counted[reference]:
            volatility = realised(closes[reference], first[reference], now)
        high = is_high(volatility, (now + 1) // 5, memory, volatile)
        codes[j, 0], codes[j, 1] = n, NEVER
        if n >= LEAST_KEYS:
            raw = label(out[j, 0], out[j, 6], high)
            if dwell[0] == NEVER:
                dwell[0], dwell[1], dwell[2] = raw, raw, 0
            else:
                dwell[0], dwell[1], dwell[2] = settle(raw, dwell[0], dwell[1], dwell[2])
            codes[j, 1] = dwell[0]
        out[j, 6] = volatility
