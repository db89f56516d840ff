"""Volume and where in the bar it traded: money flow, on-balance volume, participation, and the day's average price.

Windows are read afresh, oldest to newest. Synthetic bars have no volume and enter windows as they are; only the means of
`relative_volume` leave them out.
"""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from events.schema import SYNTHETIC
from events.times import DAY_NS
from operators.maths import kernel

SLOT_DAYS = 7
SLOT_MINIMUM = 3
RECENT_BARS = 30


@kernel
def close_location(high: float, low: float, close: float) -> float:
    """Where the close stands in its bar: 1 at the high, -1 at the low, 0 in the middle and in bars without a range.

    >>> close_location(104.0, 100.0, 103.0)
    0.5
    """
    return ((close - low) - (high - close)) / (high - low) if high > low else 0.0


@kernel
def chaikin_money_flow(high: Array, low: Array, close: Array, volume: Array, length: int = 20) -> Array:
    """cmf_20: volume weighted mean of the close's location over `length` bars, in [-1, 1]; NaN without volume.

    First index length - 1; H 64, stable length 20. Source: file 03 section 9; Chaikin's money flow.

    >>> high, low = np.array([2.0, 2.0]), np.array([1.0, 1.0])
    >>> chaikin_money_flow(high, low, np.array([2.0, 1.0]), np.array([3.0, 1.0]), 2).tolist()
    [nan, 0.5]
    """
    out = np.full(len(close), math.nan)
    for t in range(length - 1, len(close)):
        flow, total = 0.0, 0.0
        for i in range(t - length + 1, t + 1):
            flow += close_location(high[i], low[i], close[i]) * volume[i]
            total += volume[i]
        if total > 0.0:
            out[t] = flow / total
    return out


@kernel
def on_balance_volume(close: Array, volume: Array, length: int = 14) -> Array:
    """obv_14: volume of `length` bars signed by the change of close, as a share of it, in [-1, 1]; NaN without volume.

    First index `length`; H 64, stable length 15. Source: file 03 section 9; Granville's on-balance volume over a window.

    >>> on_balance_volume(np.array([1.0, 2.0, 1.5]), np.array([9.0, 3.0, 1.0]), 2).tolist()
    [nan, nan, 0.5]
    """
    out = np.full(len(close), math.nan)
    for t in range(length, len(close)):
        signed, total = 0.0, 0.0
        for i in range(t - length + 1, t + 1):
            if close[i] > close[i - 1]:
                signed += volume[i]
            elif close[i] < close[i - 1]:
                signed -= volume[i]
            total += volume[i]
        if total > 0.0:
            out[t] = signed / total
    return out


@kernel
def accumulation_slope(high: Array, low: Array, close: Array, volume: Array, length: int = 20) -> Array:
    """adl_20: slope of the accumulation line over `length` bars in mean volumes per bar, about [-1, 1]; NaN without volume.

    The line cumulates location * volume from the window's first bar on (a level before it does not change the slope). At 20
    bars it stays within 600/399 of 0. First index length - 1; H 64, stable length 20. Source: file 03 section 9; least squares
    slope of Chaikin's accumulation/distribution line.

    >>> high, low = np.array([2.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0])
    >>> accumulation_slope(high, low, high, np.array([3.0, 3.0, 3.0]), 3).tolist()
    [nan, nan, 1.0]
    """
    out = np.full(len(close), math.nan)
    middle = (length - 1) / 2.0
    spread = length * (length * length - 1.0) / 12.0
    for t in range(length - 1, len(close)):
        line, product, total = 0.0, 0.0, 0.0
        for i in range(length):
            bar = t - length + 1 + i
            line += close_location(high[bar], low[bar], close[bar]) * volume[bar]
            product += (i - middle) * line
            total += volume[bar]
        if total > 0.0:
            out[t] = product / spread / (total / length)
    return out


@kernel
def relative_volume(ts_open: Array, volume: Array, flags: Array) -> Array:
    """rvol: volume as a multiple of the mean volume at that UTC time of day, >= 0; no direction.

    The mean is over the bars opened exactly 1 to 7 days before, if at least 3 of them are there; else over the 30 bars before
    this one, if at least 15 count. Bars flagged SYNTHETIC do not count. NaN if the mean is 0 or missing. First index 30; no H
    needed beyond 7 days of bars, stable length: those. Source: file 03 section 9.

    `ts_open` is int64 ns, ascending; `flags` the flags of the bars.

    >>> opens = np.arange(5) * 24 * 3600 * 10**9
    >>> relative_volume(opens, np.ones(5), np.zeros(5, np.int64)).tolist()
    [nan, nan, nan, nan, nan]
    >>> opens = np.arange(40) * 24 * 3600 * 10**9
    >>> relative_volume(opens, np.where(opens < opens[39], 2.0, 3.0), np.zeros(40, np.int64))[38:].tolist()
    [1.0, 1.5]
    """
    n = len(volume)
    out = np.full(n, math.nan)
    at = np.zeros(SLOT_DAYS + 1, np.int64)  # per days back: the first bar opened at or after that time
    for t in range(n):
        count, total = 0, 0.0
        for days in range(SLOT_DAYS, 0, -1):
            opened = ts_open[t] - days * DAY_NS
            while ts_open[at[days]] < opened:
                at[days] += 1
            i = at[days]
            if ts_open[i] == opened and flags[i] & SYNTHETIC == 0:
                count += 1
                total += volume[i]
        if t < RECENT_BARS:
            continue
        if count < SLOT_MINIMUM:
            count, total = 0, 0.0
            for i in range(t - RECENT_BARS, t):
                if flags[i] & SYNTHETIC == 0:
                    count += 1
                    total += volume[i]
            if count < RECENT_BARS // 2:
                continue
        if total > 0.0:
            out[t] = volume[t] / (total / count)
    return out


@kernel
def follow_relative_volume(
    g: Array, volume: Array, flags: Array, timeframe_ns: int, slots: Array, recent: Array, mark: Array
) -> Array:
    """`relative_volume` going on from where it stood, the same bits.

    `slots` holds the volumes of the last 7 days by g, `recent` those of the last 30 bars, NaN where a bar does not count; `mark`
    is (g of the last bar, bars so far). All three are moved on.
    """
    out = np.full(len(volume), math.nan)
    length = len(slots)
    for t in range(len(volume)):
        for skipped in range(max(mark[0] + 1, g[t] - length), g[t]):  # bars that were not there
            slots[skipped % length] = math.nan
        count, total = 0, 0.0
        for days in range(SLOT_DAYS, 0, -1):
            back = days * DAY_NS // timeframe_ns
            if days * DAY_NS % timeframe_ns == 0 and math.isfinite(slots[(g[t] - back) % length]):
                count += 1
                total += slots[(g[t] - back) % length]
        seen = mark[1]
        if seen >= RECENT_BARS:
            enough = SLOT_MINIMUM
            if count < SLOT_MINIMUM:
                count, total, enough = 0, 0.0, RECENT_BARS // 2
                for i in range(seen, seen + RECENT_BARS):
                    if math.isfinite(recent[i % RECENT_BARS]):
                        count += 1
                        total += recent[i % RECENT_BARS]
            if count >= enough and total > 0.0:
                out[t] = volume[t] / (total / count)
        counted = volume[t] if flags[t] & SYNTHETIC == 0 else math.nan
        slots[g[t] % length], recent[seen % RECENT_BARS] = counted, counted
        mark[0], mark[1] = g[t], seen + 1
    return out


@kernel
def follow_day_vwap(
    ts_open: Array, high: Array, low: Array, close: Array, vwap: Array, volume: Array, state: Array
) -> tuple[Array, Array]:
    """`day_vwap` going on from `state`, which is moved on: (day, the day's first price, volume, mean less first, squares)."""
    n = len(volume)
    mean, band = np.full(n, math.nan), np.full(n, math.nan)
    day, first, total, shift, squares = state[0], state[1], state[2], state[3], state[4]
    for t in range(n):
        price = vwap[t] if math.isfinite(vwap[t]) else (high[t] + low[t] + close[t]) / 3.0
        if ts_open[t] // DAY_NS != day:
            day, first, total, shift, squares = float(ts_open[t] // DAY_NS), price, 0.0, 0.0, 0.0
        if volume[t] > 0.0:
            total += volume[t]
            away = price - first - shift
            shift += volume[t] / total * away
            squares += volume[t] * away * (price - first - shift)
        if total > 0.0:
            mean[t], band[t] = first + shift, math.sqrt(max(squares, 0.0) / total)
    state[0], state[1], state[2], state[3], state[4] = day, first, total, shift, squares
    return mean, band


def day_vwap(ts_open: Array, high: Array, low: Array, close: Array, vwap: Array, volume: Array) -> tuple[Array, Array]:
    """(vwap_d, vwap_band): volume weighted mean and standard deviation of price since 00:00 UTC, in price units.

    The price of a bar is its vwap, or (H + L + C) / 3 where that is NaN. NaN until the day has volume; the band is exactly 0
    while all prices are equal. First index 0; memory: the day, the first, incomplete one is warming. Source: file 03 section 9;
    computed bar by bar as differences to the day's first price (West 1979).

    >>> opens, nothing = np.arange(2) * 60 * 10**9, np.full(2, np.nan)
    >>> prices = np.array([10.0, 14.0])
    >>> [column.tolist() for column in day_vwap(opens, prices, prices, prices, nothing, np.array([3.0, 1.0]))]
    [[10.0, 11.0], [0.0, 1.7320508075688772]]
    """
    mean, band = follow_day_vwap(ts_open, high, low, close, vwap, volume, np.full(5, math.nan))
    return mean, band
