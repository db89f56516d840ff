"""The reference of the first table: the kernels of bars, called on all trades at once, with nothing around them."""

from __future__ import annotations

import numpy as np

from events.frames import Array
from events.rows import BAR
from events.schema import NEVER
from flows.plan import Plan
from operators.bar_kernels import EXTRA, PAUSE, build, fold


def bare(trades: Array, end_ns: int, plan: Plan) -> dict[str, Array]:
    """Per timeframe all bars that close by `end_ns`."""
    base, base_ns = plan.timeframes[0]
    boundary = end_ns // base_ns * base_ns
    most = int((boundary - trades["available_at"][0]) // base_ns) + 1
    bars, pauses = np.empty(most, BAR), np.empty(2 * (most // plan.max_fill + 2), PAUSE)
    bar, extra = _empty()
    n, _ = build(trades, boundary, base_ns, plan.max_fill, bar, extra, bars, pauses)
    out = {f"bars.{base}": bars[:n]}
    for name, length in plan.timeframes[1:]:
        longer = np.empty(n * base_ns // length + 2, BAR)
        bar, extra = _empty()
        out[f"bars.{name}"] = longer[: fold(bars[:n], boundary, base_ns, length, bar, extra, longer)]
    return out


def _empty() -> tuple[Array, Array]:
    extra = np.zeros(1, EXTRA)
    extra["coverage"] = NEVER
    return np.zeros(1, BAR), extra
