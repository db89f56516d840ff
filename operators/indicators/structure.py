"""Structure of price: swings, breaks of structure, sweeps. Order blocks and levels are in `zones`.

A score column comes with a `silent` column (uint8): 1 where the score is NaN because there is nothing to say, 0 where it has a
value or where it is NaN for want of bars or of ATR.
"""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import kernel

PIVOT_BARS = 5
SWEEP_ATR = 0.05
BREAK_HALF_LIFE = 10.0
SWEEP_HALF_LIFE = 5.0
SWEEP_BARS = 25


@kernel
def _confirms(high: Array, low: Array, t: int, k: int) -> tuple[bool, bool]:
    """Whether bar t confirms a swing high, and whether a swing low, at the bar k before it."""
    if t < 2 * k:
        return False, False
    pivot = t - k
    is_high, is_low = True, True
    for i in range(pivot - k, pivot):
        is_high = is_high and high[pivot] > high[i]
        is_low = is_low and low[pivot] < low[i]
    for i in range(pivot + 1, t + 1):
        is_high = is_high and high[pivot] >= high[i]
        is_low = is_low and low[pivot] <= low[i]
    return is_high, is_low


@kernel
def swings(high: Array, low: Array, k: int = PIVOT_BARS) -> tuple[Array, Array]:
    """(high pivots, low pivots): the price of the swing that is confirmed by this bar, k bars after its pivot; else NaN.

    A swing high is above the highs of the k bars before it and not below those of the k bars after it; a low mirrored. Price
    units. First index 2k; stable length 2k + 1. Source: file 03 section 8.

    >>> high, low = np.array([1.0, 3.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.5, 0.5, 2.0])
    >>> [column.tolist() for column in swings(high, low, 1)]
    [[nan, nan, 3.0, nan, nan], [nan, nan, nan, nan, 0.5]]
    """
    n = len(high)
    highs, lows = np.full(n, math.nan), np.full(n, math.nan)
    for t in range(n):
        is_high, is_low = _confirms(high, low, t, k)
        if is_high:
            highs[t] = high[t - k]
        if is_low:
            lows[t] = low[t - k]
    return highs, lows


@kernel
def newest_swings(high: Array, low: Array, k: int = PIVOT_BARS, since: int = 0) -> tuple[Array, Array]:
    """(swing high, swing low): the price of the newest swing that is confirmed by this bar (`swings`), NaN before the first.

    Price units. Rows before `since` are left NaN. First index 2k at the earliest; H 512, stable length 256 (declared). Source:
    file 03 section 8.

    >>> high, low = np.array([1.0, 3.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.5, 0.5, 2.0])
    >>> [column.tolist() for column in newest_swings(high, low, 1)]
    [[nan, nan, 3.0, 3.0, 3.0], [nan, nan, nan, nan, 0.5]]
    """
    n = len(high)
    highs, lows = np.full(n, math.nan), np.full(n, math.nan)
    top, bottom = math.nan, math.nan
    for t in range(since - 1, 2 * k - 1, -1):  # what is known before the first row that is asked for
        is_high, is_low = _confirms(high, low, t, k)
        if is_high and math.isnan(top):
            top = high[t - k]
        if is_low and math.isnan(bottom):
            bottom = low[t - k]
        if not (math.isnan(top) or math.isnan(bottom)):
            break
    for t in range(since, n):
        is_high, is_low = _confirms(high, low, t, k)
        if is_high:
            top = high[t - k]
        if is_low:
            bottom = low[t - k]
        highs[t], lows[t] = top, bottom
    return highs, lows


@kernel
def structure(
    high: Array, low: Array, close: Array, atr: Array, k: int = PIVOT_BARS
) -> tuple[Array, Array, Array, Array, Array]:
    """(swing_high, swing_low, trend, break_event, sweep_event), float64.

    swing_high, swing_low: price of the newest confirmed swing, NaN before the first. trend: direction of the newest break, 0
    before the first. break_event: +-1 a break of structure, +-2 a change of character, 0 none. sweep_event: +1 a swept low, -1 a
    swept high, 0 none; a bar that sweeps both has no event, and both swings count as swept.

    Per bar: confirm swings; a close above the newest swing high not yet broken breaks it (a change of character if the trend
    was down), else a close below the newest low breaks that; then a low more than 0.05 `atr` of the bar before under the newest
    low, closed above it, sweeps it, once per swing and only while it is not broken; highs mirrored.

    First index of a swing 2k, of a sweep that of `atr` + 1; H 512, stable length 256 (declared). Source: file 03 section 8.

    >>> high = np.array([10, 11, 12, 11, 10.5, 11.5, 13, 12.5, 12, 11, 10])
    >>> low = np.array([9, 10, 11, 10, 9.5, 10.5, 12, 11.5, 11, 9.8, 9.2])
    >>> close = np.array([9.5, 10.8, 11.5, 10.2, 10, 11.2, 12.6, 11.8, 11.2, 9.9, 9.4])
    >>> _, _, trend, broken, swept = structure(high, low, close, np.full(11, np.nan), 2)
    >>> broken.astype(int).tolist(), trend.astype(int).tolist()
    ([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, -2], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, -1])
    """
    n = len(close)
    confirmed_high, confirmed_low = swings(high, low, k)
    swing_high, swing_low = np.full(n, math.nan), np.full(n, math.nan)
    trend, break_event, sweep_event = np.zeros(n), np.zeros(n), np.zeros(n)
    top, bottom, direction = math.nan, math.nan, 0.0
    top_broken, top_swept, bottom_broken, bottom_swept = False, False, False, False
    for t in range(n):
        if not math.isnan(confirmed_high[t]):
            top, top_broken, top_swept = confirmed_high[t], False, False
        if not math.isnan(confirmed_low[t]):
            bottom, bottom_broken, bottom_swept = confirmed_low[t], False, False
        if close[t] > top and not top_broken:
            break_event[t] = 2.0 if direction < 0.0 else 1.0
            direction, top_broken = 1.0, True
        elif close[t] < bottom and not bottom_broken:
            break_event[t] = -2.0 if direction > 0.0 else -1.0
            direction, bottom_broken = -1.0, True
        if t > 0:  # where ATR is NaN, nothing is beyond the reach
            reach = SWEEP_ATR * atr[t - 1]
            if not (bottom_broken or bottom_swept) and low[t] < bottom - reach and close[t] > bottom:
                bottom_swept = True
                sweep_event[t] += 1.0
            if not (top_broken or top_swept) and high[t] > top + reach and close[t] < top:
                top_swept = True
                sweep_event[t] -= 1.0
        swing_high[t], swing_low[t], trend[t] = top, bottom, direction
    return swing_high, swing_low, trend, break_event, sweep_event


@kernel
def event_score(event: Array, ready: Array, half_life: float, longest: int) -> tuple[Array, Array]:
    """(score, silent): direction of the newest event, halved every `half_life` bars since, in [-1, 1].

    Silent, where `ready`, before the first event and more than `longest` bars after the newest (never with 0). First index:
    that of the first event. Source: file 03 section 8.

    >>> score, silent = event_score(np.array([0.0, -2.0, 0.0, 0.0]), np.ones(4, np.bool_), 1.0, 1)
    >>> score.tolist(), silent.tolist()
    ([nan, -1.0, -0.5, nan], [1, 0, 0, 1])
    """
    n = len(event)
    score, silent = np.full(n, math.nan), np.zeros(n, np.uint8)
    newest = -1
    for t in range(n):
        if event[t] != 0.0:
            newest = t
        if newest >= 0 and (longest == 0 or t - newest <= longest):
            score[t] = math.copysign(math.pow(2.0, -(t - newest) / half_life), event[newest])
        elif ready[t]:
            silent[t] = 1
    return score, silent


@kernel
def bos_score(break_event: Array, k: int = PIVOT_BARS) -> tuple[Array, Array]:
    """(score, silent): direction of the newest break of structure * 2^(-age / 10), in [-1, 1]; mirrored prices negate it.

    Takes `break_event` of `structure`. Silent from index 2k, the first where a swing can be known, to the first break. H 512,
    stable length 256 (declared). Source: file 03 section 8.

    >>> score, silent = bos_score(np.array([0.0] * 10 + [0.0, 1.0] + [0.0] * 10))
    >>> silent.tolist()[9:12], score[[10, 11, 21]].tolist()
    ([0, 1, 0], [nan, 1.0, 0.5])
    """
    return event_score(break_event, np.arange(len(break_event)) >= 2 * k, BREAK_HALF_LIFE, 0)


@kernel
def sweep_score(sweep_event: Array, atr: Array, k: int = PIVOT_BARS) -> tuple[Array, Array]:
    """(score, silent): direction of the newest sweep * 2^(-age / 5), in [-1, 1]; mirrored prices negate it.

    Takes `sweep_event` of `structure` and its `atr`. Silent before the first sweep, from where both a swing and the ATR of the
    bar before are there, and more than 25 bars after the newest. H 512, stable length 256 (declared). Source: file 03 section 8.

    >>> score, silent = sweep_score(np.array([0.0] * 11 + [-1.0] + [0.0] * 30), np.ones(42))
    >>> silent.tolist()[9:12] + silent.tolist()[36:38], score[[11, 16, 36]].tolist()
    ([0, 1, 0, 0, 1], [-1.0, -0.5, -0.03125])
    """
    ready = np.arange(len(atr)) >= 2 * k
    for t in range(len(atr)):
        ready[t] = ready[t] and t > 0 and math.isfinite(atr[t - 1])
    return event_score(sweep_event, ready, SWEEP_HALF_LIFE, SWEEP_BARS)
