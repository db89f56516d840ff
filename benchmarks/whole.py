"""The whole graph: bars, indicators, confluence and signals, with the default settings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.console import Console

from benchmarks.agreement import same_rows
from benchmarks.bars import cut, only_bars
from benchmarks.kernels import bare
from benchmarks.material import START, Count, Memory, default_plan, frames, run, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, measure
from events.frames import Array, Frame
from events.times import DAY_NS, MINUTE_NS
from flows.graph import build
from flows.plan import Plan
from operators.keyed import Frames


def everything(plan: Plan) -> Callable[[Frames], Frames]:
    """The graph from trades to signals."""
    return lambda market: build(market, plan)


def sized() -> str:
    """The size of the default plan, in words."""
    plan = default_plan()
    return f"{len(plan.timeframes)} x {len(plan.analysis.indicators)} indicators"


def each_minute(minutes: int) -> Array:
    """One trade a minute, so that every row closes a bar."""
    rows = trades(minutes * 4 * MINUTE_NS / DAY_NS, 1.0, seed=3)[:minutes].copy()
    rows["available_at"] = rows["ts_recv"] = START + np.arange(minutes) * MINUTE_NS
    rows.flags.writeable = False
    return rows


def same_at_any_cut(rows: Array, end_ns: int) -> None:
    """Check that frames of any size give the same rows, in all streams, and the bars of the kernels.

    Raises:
        Disagreement: they do not.
    """
    plan = default_plan()
    found = [
        run(Memory(frames(rows, chunk, end_ns)), everything(plan), Count(keep=True)).together()
        for chunk in (len(rows), 1_000, 1)
    ]
    same_rows("the whole graph", found[0], bare(rows, end_ns, plan))
    for other in found[1:]:
        same_rows("the whole graph in smaller frames", other, found[0])
        same_rows("the whole graph in one frame", found[0], other)


def contenders(busy: Array, quiet: Array, few: int) -> list[Contender]:
    """Frames of three sizes, a busy and a quiet market."""
    plan, out = default_plan(), []
    for what, rows in (("25 trades/s", busy), ("1 trade/s", quiet)):
        whole, end_ns = cut(rows, len(rows))
        same_at_any_cut(*cut(rows, 5_000))
        data = frames(whole, 100_000, end_ns)
        alone = _timed(f"bars alone, {what}, 100,000 rows a frame", len(whole), data, only_bars(plan))
        for chunk, (part, end) in ((100_000, (whole, end_ns)), (1_000, cut(whole, 20 * few)), (1, cut(whole, few))):
            name = f"whole graph, {what}, {chunk:,} row{'s' * (chunk > 1)} a frame"
            contender = _timed(name, len(part), frames(part, chunk, end), everything(plan))
            out += [alone, contender] if chunk == 100_000 else [contender]
    return out


def _timed(what: str, rows: int, data: list[Frame], graph: Callable[[Frames], Frames]) -> Contender:
    return Contender(what, rows, lambda: run(Memory(data), graph))


def closing(minutes: int) -> list[Contender]:
    """A bar closes with each row: first bars alone, then everything, over all timeframes and their indicators."""
    rows = each_minute(minutes)
    end_ns = START + minutes * MINUTE_NS
    same_at_any_cut(*cut(rows, 2_000))
    data, one = frames(rows, 1, end_ns), frames(rows, minutes, end_ns)
    return [
        _timed("bars alone", minutes, data, only_bars(default_plan())),
        _timed(f"whole graph, {sized()}", minutes, data, everything(default_plan())),
        _timed(f"whole graph, {sized()}, all rows in one frame", minutes, one, everything(default_plan())),
    ]


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    busy, quiet = trades(0.25 if quick else 2.0, 1_500.0), trades(1.0 if quick else 20.0, 60.0)
    measured = measure(contenders(busy, quiet, 10_000 if quick else 40_000), 2 if quick else 3)
    show(console, "The whole graph, default settings, one instrument, one core", measured)
    bars = measure(closing(1_000 if quick else 3_000), 2 if quick else 3)
    show(console, "A closed 1m bar through the graph: one trade a minute, one row a frame", bars, "bars")
    single = next(c for c in measured if c.what == "whole graph, 25 trades/s, 1 row a frame")
    return [
        Budget("the whole graph, 1 row a frame, 25 trades/s", single.rate, 50_000, "trades/s"),
        Budget(f"a closed 1m bar, {sized()}, one at a time", 1e6 / bars[1].rate, 100, "us", at_most=True),
        Budget("the same, all in one frame", 1e6 / bars[2].rate, 100, "us", at_most=True),
    ]
