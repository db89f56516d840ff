"""Zones of price: order blocks, and levels of support and resistance. `silent` columns are those of `structure`."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import kernel

PIVOT_BARS = 5
BLOCK_BODY_ATR = 1.5
BLOCK_LOOKBACK = 20
BLOCK_BARS = 100
BLOCK_HALF_LIFE = 25.0
BLOCKS_PER_SIDE = 20
LEVEL_SWINGS = 20
LEVEL_ATR = 0.5


@kernel
def _origin(open_: Array, close: Array, t: int, side: float) -> int:
    """The newest of the 20 bars before t that went against `side`, or -1."""
    for j in range(t - 1, max(t - BLOCK_LOOKBACK, 0) - 1, -1):
        if side * (close[j] - open_[j]) < 0.0:
            return j
    return -1


@kernel
def order_blocks(
    open_: Array, high: Array, low: Array, close: Array, atr: Array, break_event: Array, k: int = PIVOT_BARS
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """(ob_score, silent, bull_n, bear_n, created, bottom, top).

    ob_score: tanh(sum of direction * 2^(-age / 25) * exp(-distance / ATR)) over the zones alive, in [-1, 1]; mirrored prices
    negate it; silent from index 2k on while there is no zone, missing where `atr` is 0 or NaN. bull_n, bear_n: zones alive,
    0..20. created: +-1 on the bar that makes a zone, else 0, with the zone's bottom and top in price units, else NaN.

    A break (`break_event` of `structure`) by a bar whose body is at least 1.5 ATR of the bar before makes a zone of the newest
    of the 20 bars before it that closed the other way: [low, open] of it under an up break, [open, high] over a down break. A
    zone ends when a bar closes beyond its far side, at age 100, or, the oldest first, when its side has more than 20. Zones are
    updated before a new one is made. First index 2k; H 512, stable length 256 (declared). Source: file 03 section 8.

    >>> open_, close = np.array([10.0, 9.0, 9.0]), np.array([9.0, 12.0, 9.5])
    >>> high, low, atr = np.array([10.0, 12.0, 12.0]), np.array([8.5, 9.0, 9.0]), np.ones(3)
    >>> out = order_blocks(open_, high, low, close, atr, np.array([0.0, 1.0, 0.0]), 0)
    >>> [float(column[1]) for column in out[1:]], out[0].round(12).tolist()
    ([0.0, 1.0, 0.0, 1.0, 8.5, 10.0], [nan, 0.134515041289, 0.749868664828])
    """
    n = len(close)
    score, silent = np.full(n, math.nan), np.zeros(n, np.uint8)
    bulls, bears, created = np.zeros(n), np.zeros(n), np.zeros(n)
    bottoms, tops = np.full(n, math.nan), np.full(n, math.nan)
    alive, count = np.empty(2 * BLOCKS_PER_SIDE + 1, np.int64), 0  # the bars that made them, oldest first
    for t in range(n):
        made = t > 0 and break_event[t] != 0.0 and abs(close[t] - open_[t]) >= BLOCK_BODY_ATR * atr[t - 1]
        if made:
            side = math.copysign(1.0, break_event[t])
            j = _origin(open_, close, t, side)
            if j >= 0:
                created[t] = side
                bottoms[t], tops[t] = (low[j], open_[j]) if side > 0.0 else (open_[j], high[j])
        kept, up, down = 0, 0, 0
        for i in range(count):
            z = alive[i]
            ended = close[t] < bottoms[z] if created[z] > 0.0 else close[t] > tops[z]
            if not ended and t - z < BLOCK_BARS:
                alive[kept] = z
                kept += 1
                up += created[z] > 0.0
                down += created[z] < 0.0
        count = kept
        if created[t] != 0.0:
            if (up if created[t] > 0.0 else down) == BLOCKS_PER_SIDE:
                oldest = 0
                while created[alive[oldest]] != created[t]:
                    oldest += 1
                for i in range(oldest, count - 1):
                    alive[i] = alive[i + 1]
                count -= 1
            else:
                up += created[t] > 0.0
                down += created[t] < 0.0
            alive[count] = t
            count += 1
        bulls[t], bears[t] = up, down
        if count == 0:
            silent[t] = t >= 2 * k
        elif atr[t] > 0.0:
            total = 0.0
            for i in range(count):
                z = alive[i]
                away = max(bottoms[z] - close[t], close[t] - tops[z], 0.0)
                total += created[z] * math.pow(2.0, -(t - z) / BLOCK_HALF_LIFE) * math.exp(-away / atr[t])
            score[t] = math.tanh(total)
    return score, silent, bulls, bears, created, bottoms, tops


@kernel
def levels(
    confirmed_high: Array, confirmed_low: Array, close: Array, atr: Array, k: int = PIVOT_BARS, since: int = 0
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """(d_res, d_sup, res_touches, sup_touches, res_silent, sup_silent).

    d_res, d_sup: distance in ATR from the close to the nearest level above and below it, > 0; touches: how many swings that
    level holds. NaN and silent where there is no such level (from index 2k on), missing where `atr` is 0 or NaN.

    Levels are made of the last 20 prices confirmed (`swings`), two of one bar being in or out together: sorted, neighbours
    closer than 0.5 ATR are one level, at their mean. Rows before `since` are left NaN. First index 2k; H 512, stable length 256
    (declared). Source: file 03 section 8.

    >>> highs, lows = np.array([12.0, 12.25, 14.0]), np.array([9.0, np.nan, np.nan])
    >>> out = levels(highs, lows, np.full(3, 11.0), np.ones(3), 0)
    >>> [column.tolist()[2] for column in out]
    [1.125, 2.0, 2.0, 1.0, 0, 0]
    """
    n = len(close)
    d_res, d_sup = np.full(n, math.nan), np.full(n, math.nan)
    res_touches, sup_touches = np.full(n, math.nan), np.full(n, math.nan)
    res_silent, sup_silent = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    at, known = np.empty(n, np.int64), 0  # bars that confirmed a swing
    prices = np.empty(LEVEL_SWINGS)
    for t in range(n):
        if not (math.isnan(confirmed_high[t]) and math.isnan(confirmed_low[t])):
            at[known] = t
            known += 1
        if t < max(2 * k, since) or not atr[t] > 0.0:
            continue
        count = 0
        for m in range(known - 1, -1, -1):
            both = not (math.isnan(confirmed_high[at[m]]) or math.isnan(confirmed_low[at[m]]))
            if count + 1 + both > LEVEL_SWINGS:
                break
            if not math.isnan(confirmed_high[at[m]]):
                prices[count] = confirmed_high[at[m]]
                count += 1
            if not math.isnan(confirmed_low[at[m]]):
                prices[count] = confirmed_low[at[m]]
                count += 1
        for i in range(1, count):  # insertion sort
            price, j = prices[i], i
            while j > 0 and prices[j - 1] > price:
                prices[j] = prices[j - 1]
                j -= 1
            prices[j] = price
        first = 0
        while first < count:
            last, moved = first, 0.0
            while last + 1 < count and prices[last + 1] - prices[last] < LEVEL_ATR * atr[t]:
                last += 1
                moved += prices[last] - prices[first]
            touches = last - first + 1
            away = (prices[first] + moved / touches - close[t]) / atr[t]
            if away < 0.0:
                d_sup[t], sup_touches[t] = -away, touches
            elif away > 0.0 and math.isnan(d_res[t]):
                d_res[t], res_touches[t] = away, touches
            first = last + 1
        res_silent[t] = math.isnan(d_res[t])
        sup_silent[t] = math.isnan(d_sup[t])
    return d_res, d_sup, res_touches, sup_touches, res_silent, sup_silent
