"""How much history a configuration needs: bars of each timeframe until every column is settled.

A value is settled once all bars that decide it, however far back, have been seen: from the first bar of the block in front of its
own on, and so on for each column that it takes. Lengths add along a path of the graph, and where in its block a bar lies decides
how much of it counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from events.frames import Array
from events.times import DAY_NS
from flows.plan import Plan
from operators.analysis import Analysis
from operators.indicators import BAR_INPUTS, Indicator


class Need(NamedTuple):
    """Consecutive whole bars, the newest included, until every column is settled; the column that needs as many."""

    bars: int
    column: str


def required_bars(plan: Plan, at_ns: int | None = None) -> dict[str, Need]:
    """What each timeframe needs. Once settled, columns stay so.

    Args:
        plan: of the configuration.
        at_ns: the time at which the newest bars are those that have just closed; None for the worst of all times.

    >>> from config import load
    >>> needs = required_bars(Plan(load()))
    >>> needs["1m"], needs["4h"]
    (Need(bars=10081, column='rvol'), Need(bars=2048, column='regime'))
    """
    return {
        name: needed(plan.analysis, name, length, None if at_ns is None else at_ns // length - 1)
        for name, length in plan.timeframes
    }


def needed(analysis: Analysis, name: str, timeframe_ns: int, g: int | None = None) -> Need:
    """What one timeframe needs for its columns to be settled at the bar of index `g`; None for the worst of all bars."""
    maker = {column: indicator for indicator in analysis.indicators for column in indicator.columns}
    longest = max((indicator.history for indicator in analysis.indicators), default=1)
    found = Need(1, analysis.columns[0] if analysis.columns else "")
    for indicator in analysis.indicators:
        newest = _last_of_blocks(indicator, longest, timeframe_ns) if g is None else np.array([g])
        since = _settled_from(indicator, maker, name, timeframe_ns, newest)
        bars = int((newest - since).max()) + 1
        if bars > found.bars:
            found = Need(bars, indicator.columns[0])
    return found


def _last_of_blocks(indicator: Indicator, longest: int, timeframe_ns: int) -> Array:
    """Indices of bars among which the worst is: what is needed is the same for all bars of a block, and repeats itself."""
    day = DAY_NS // math.gcd(DAY_NS, timeframe_ns)
    if indicator.wide is not None:
        return np.arange(math.lcm(indicator.history, day))
    block = indicator.history
    return np.arange(block - 1, math.lcm(longest, day), block)


def _settled_from(indicator: Indicator, maker: dict[str, Indicator], name: str, timeframe_ns: int, g: Array) -> Array:
    """Index of the newest bar that a run may begin with, for the indicator to be settled at bars `g`."""
    if indicator.timeframes is not None and name not in indicator.timeframes:
        return g  # it is silent
    if indicator.wide is not None:
        return indicator.wide(timeframe_ns).settled_from(g)
    start = (g // indicator.history - 1) * indicator.history
    earliest = start
    for need in indicator.inputs:
        if need not in BAR_INPUTS:
            earliest = np.minimum(earliest, _settled_from(maker[need], maker, name, timeframe_ns, start))
    return earliest
