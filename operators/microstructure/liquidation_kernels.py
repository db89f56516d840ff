"""Sums of liquidations by bar, decayed sums, and what follows a flush."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from events.frames import Array
from events.schema import NEVER
from operators.maths import kernel

SLOTS: Final = 256
"""Base bars whose sums are kept; 240 are asked for."""
NEAR: Final = 30
FAR: Final = 240
RECENT: Final = 5
"""Base bars of a burst."""
HALF_LIVES: Final = 32
"""Length of an anchored period, in half-lives. Source: file 00 section 10."""
EXTREMES: Final = 8

NEAR_LONG, NEAR_SHORT, FAR_LONG, FAR_SHORT, RECENT_LONG, RECENT_SHORT, COMPLETE, DECAYED = range(8)
"""Columns of what `follow_liquidations` gives; from DECAYED on (long, short) for each half-life."""


@kernel
def _take(at: int, value: float, pos: int, whole: int, base_ns: int, keys: Array, sums: Array, torn: Array) -> None:
    """Add a liquidation to the sums of its bar."""
    g = at // base_ns
    slot = g % SLOTS
    if keys[slot] < g:
        keys[slot], sums[slot, 0], sums[slot, 1], torn[slot] = g, 0.0, 0.0, 0
    if keys[slot] == g:
        sums[slot, 0 if pos > 0 else 1] += value
        if whole == 0:
            torn[slot] = 1


@kernel
def _decay(at: int, value: float, pos: int, half_life_ns: int, marks: Array, slots: Array) -> None:
    """Add a liquidation to decayed sums: `slots` are (long, short) of the served and of the next period, `marks` (period, time)."""
    period = at // (HALF_LIVES * half_life_ns)
    if period != marks[0]:
        for side in range(2):
            slots[0, side] = slots[1, side] if period == marks[0] + 1 else 0.0
            slots[1, side] = 0.0
        marks[0] = period
    factor = 2.0 ** (-float(at - marks[1]) / float(half_life_ns)) if marks[1] != NEVER else 0.0
    for k in range(2):
        for side in range(2):
            slots[k, side] *= factor
        slots[k, 0 if pos > 0 else 1] += value
    marks[1] = at


@kernel
def decayed(t: int, half_life_ns: int, marks: Array, slots: Array, side: int) -> float:
    """A decayed sum at time t, of what came since the period before that of t began.

    >>> minute = 60_000_000_000
    >>> marks, slots = np.array([0, 30 * minute]), np.array([[100.0, 0.0], [100.0, 0.0]])
    >>> decayed(60 * minute, 30 * minute, marks, slots, 0)
    50.0
    """
    ahead = t // (HALF_LIVES * half_life_ns) - marks[0]
    if marks[1] == NEVER or ahead > 1:
        return 0.0
    held: float = slots[ahead, side] * 2.0 ** (-float(t - marks[1]) / float(half_life_ns))
    return held


@kernel
def follow_liquidations(
    times: Array, cut: Array, at: Array, value: Array, pos: Array, whole: Array, base_ns: int, half_lives: Array,
    keys: Array, sums: Array, torn: Array, marks: Array, slots: Array,
) -> Array:  # fmt: skip
    """The sums at the close of each bar, over bars [t - n, t) of liquidations in their order; then the rest is taken in.

    A bar that a void or a hole meets (`cut`) is torn: what is known of it may not be all. Quote units; complete is 1 or 0.
    """
    out = np.zeros((len(times), DECAYED + 2 * len(half_lives)))
    j = 0
    for i in range(len(times) + 1):
        end = times[i] if i < len(times) else 0
        while j < len(at) and (i == len(times) or at[j] < end):
            _take(at[j], value[j], pos[j], whole[j], base_ns, keys, sums, torn)
            for k in range(len(half_lives)):
                _decay(at[j], value[j], pos[j], half_lives[k], marks[k], slots[k])
            j += 1
        if i == len(times):
            break
        g = end // base_ns
        if cut[i]:
            slot = (g - 1) % SLOTS
            if keys[slot] < g - 1:
                keys[slot], sums[slot, 0], sums[slot, 1] = g - 1, 0.0, 0.0
            if keys[slot] == g - 1:
                torn[slot] = 1
        out[i, COMPLETE] = 1.0
        for k in range(g - FAR, g):
            slot = k % SLOTS
            if keys[slot] != k:
                continue
            for side in range(2):
                out[i, FAR_LONG + side] += sums[slot, side]
                if k >= g - NEAR:
                    out[i, NEAR_LONG + side] += sums[slot, side]
                if k >= g - RECENT:
                    out[i, RECENT_LONG + side] += sums[slot, side]
            if torn[slot]:
                out[i, COMPLETE] = 0.0
        for k in range(len(half_lives)):
            for side in range(2):
                out[i, DECAYED + 2 * k + side] = decayed(end, half_lives[k], marks[k], slots[k], side)
    return out


@kernel
def log_sizes(longs: Array, shorts: Array, hidden: Array) -> Array:
    """ln(1 + (L + S)), NaN where hidden."""
    out = np.empty(len(longs))
    for i in range(len(out)):
        out[i] = math.nan if hidden[i] else math.log(1.0 + (longs[i] + shorts[i]))
    return out


@kernel
def imbalance(longs: Array, shorts: Array, floor: float) -> Array:
    """(S - L) / (S + L), above 0 when shorts are forced out; NaN below the floor. Source: file 04 section 9.

    >>> imbalance(np.array([120_000.0]), np.array([360_000.0]), 10_000.0).tolist()
    [0.5]
    """
    out = np.full(len(longs), math.nan)
    for i in range(len(out)):
        total = shorts[i] + longs[i]
        if total > 0.0 and total >= floor:
            out[i] = (shorts[i] - longs[i]) / total
    return out


@kernel
def follow_exhaustion(
    g: Array, high: Array, low: Array, close: Array, z: Array, longs: Array, shorts: Array,
    keys: Array, extremes: Array, burst: Array,
) -> Array:  # fmt: skip
    """How a flush ends: side of the flushed positions * their share of the burst * 2^(-age / 10), NaN without an opinion.

    A burst is a bar with z > 2; the newest one counts, 3 to 30 bars long, unless a close since lies beyond the lowest low (longs
    flushed) or the highest high (shorts) of its five bars. Longs flushed give +. `burst` is (g, side, share, extreme, broken).
    Source: file 04 section 9.
    """
    out = np.full(len(g), math.nan)
    for i in range(len(g)):
        slot = g[i] % EXTREMES
        keys[slot], extremes[slot, 0], extremes[slot, 1] = g[i], low[i], high[i]
        if z[i] > 2.0:
            total, side = longs[i] + shorts[i], 0.0
            if longs[i] != shorts[i]:
                side = 1.0 if longs[i] > shorts[i] else -1.0
            extreme = low[i] if side > 0.0 else high[i]
            for k in range(EXTREMES):
                if g[i] - RECENT < keys[k] <= g[i]:
                    extreme = min(extreme, extremes[k, 0]) if side > 0.0 else max(extreme, extremes[k, 1])
            burst[0], burst[1], burst[2] = float(g[i]), side, max(longs[i], shorts[i]) / total
            burst[3], burst[4] = extreme, 0.0
        elif burst[1] != 0.0 and burst[1] * (close[i] - burst[3]) < 0.0:
            burst[4] = 1.0
        age = float(g[i]) - burst[0]
        if burst[1] != 0.0 and burst[4] == 0.0 and 3.0 <= age <= 30.0:
            out[i] = burst[1] * burst[2] * 2.0 ** (-age / 10.0)
    return out
