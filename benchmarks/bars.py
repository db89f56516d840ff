"""Trades in memory to bars of 1m, 5m, 30m and 4h, one core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from benchmarks.agreement import same_bars, same_rows
from benchmarks.foreign import (
    historical_clock,
    live_clock,
    polars_arrays,
    polars_bars,
    polars_columns,
    shift_ahead,
    tuples,
    window_arrays,
    window_bars,
)
from benchmarks.kernels import bare
from benchmarks.material import START, Count, Memory, before, default_plan, frames, run, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, measure
from events.frames import Array
from events.times import DAY_NS, MINUTE_NS
from flows.graph import enter
from flows.plan import Plan
from operators.keyed import Frames

PER_MINUTE = 1_500.0
KERNELS = "numba kernels alone, all trades in one call"
WINDOWS = "fold_window, 1m only, deterministic clock"
LIVE = "fold_window, 1m only, default EventClock"


def only_bars(plan: Plan) -> Callable[[Frames], Frames]:
    """The graph from trades to bars."""
    return lambda market: enter(market, plan)


def cut(rows: Array, most: int) -> tuple[Array, int]:
    """The whole minutes of about so many rows, at least one, and their end."""
    at = int(rows["available_at"][min(most, len(rows) - 1)])
    end = at // MINUTE_NS * MINUTE_NS if most < len(rows) else at // MINUTE_NS * MINUTE_NS + MINUTE_NS
    end = max(end, int(rows["available_at"][0]) // MINUTE_NS * MINUTE_NS + MINUTE_NS)
    return before(rows, end), end


def tidewax(rows: Array, end_ns: int, chunk: int, per: int = 1, sequenced: bool = False) -> Contender:
    """The real graph; refuses to be timed if its bars are not those of the kernels."""
    plan, data = default_plan(sequenced), frames(rows, chunk, end_ns)
    what = f"Tidewax, {chunk:,} row{'s' * (chunk > 1)} a frame" + (f", {per} frames a batch" if per > 1 else "")
    what += ", ids in sequence" if sequenced else ""
    kept = run(Memory(data, per), only_bars(plan), Count(keep=True)).together()
    same_rows(what, kept, bare(rows, end_ns, plan))
    return Contender(what, len(rows), lambda: run(Memory(data, per), only_bars(plan)))


def polars(rows: Array, end_ns: int) -> Contender:
    """polars, one thread."""
    plan, table = default_plan(), polars_columns(rows)
    for name, want in bare(rows, end_ns, plan).items():
        got = polars_bars(table, plan.timeframes)[name]
        closed = {column: values[: len(want)] for column, values in polars_arrays(got).items()}
        same_bars(f"polars, {name}", closed, want)
    what = "polars group_by_dynamic, one thread, 8 columns a bar"
    return Contender(what, len(rows), lambda: polars_bars(table, plan.timeframes))


def windows(rows: Array, end_ns: int, what: str, clock: Any, per: int, shift_ns: int = 0) -> Contender:
    """`fold_window`, one tuple a trade."""
    items = tuples(rows, shift_ns)
    want = bare(rows, end_ns, default_plan())["bars.1m"]
    same_bars(what, window_arrays(window_bars(items, clock, per), shift_ns), want)
    what += f", {per:,} trade{'s' * (per > 1)} a batch"
    return Contender(what, len(rows), lambda: window_bars(items, clock, per))


def contenders(rows: Array, end_ns: int, few: int) -> list[Contender]:
    """All of them, checked against each other; row by row ones get about `few` rows."""
    plan, some, slow, slowest = default_plan(), cut(rows, 10 * few), cut(rows, few), cut(rows, few // 5)
    ahead = shift_ahead(rows)
    return [
        Contender(KERNELS, len(rows), lambda: bare(rows, end_ns, plan)),
        tidewax(rows, end_ns, 100_000, sequenced=True),
        tidewax(rows, end_ns, 100_000),
        tidewax(rows, end_ns, 10_000),
        tidewax(rows, end_ns, 1_000),
        tidewax(*some, 100),
        tidewax(*slow, 1, per=64),
        tidewax(*slow, 1),
        tidewax(*slow, 1, sequenced=True),
        polars(rows, end_ns),
        windows(*slow, WINDOWS, historical_clock, 1_000),
        windows(*slow, WINDOWS, historical_clock, 1),
        windows(*slow, f"{LIVE}, times ahead of the clock", live_clock, 64, ahead),
        windows(*slow, f"{LIVE}, times ahead of the clock", live_clock, 1, ahead),
        windows(*slowest, f"{LIVE}, times of the past", live_clock, 1),
    ]


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    days = 0.5 if quick else 4.0
    rows = trades(days, PER_MINUTE)
    end_ns = START + round(days * DAY_NS)
    measured = measure(contenders(rows, end_ns, 20_000 if quick else 50_000), 2 if quick else 4)
    show(console, "Trades in memory to bars of 1m, 5m, 30m and 4h, one core", measured)
    rate = {c.what: c.rate for c in measured}
    whole = rate["Tidewax, 100,000 rows a frame"]
    window = max(rate[what] for what in rate if what.startswith(WINDOWS))
    live = {per: rate[f"{LIVE}, times ahead of the clock, {per}"] for per in ("1 trade a batch", "64 trades a batch")}
    single, many = rate["Tidewax, 1 row a frame"], rate["Tidewax, 1 row a frame, 64 frames a batch"]
    return [
        Budget("bars, 100,000 rows a frame, against the kernels alone", whole / rate[KERNELS], 0.5, "x"),
        Budget("bars, 100,000 rows a frame, against fold_window", whole / window, 50, "x"),
        Budget("bars, 1 row a frame, against live fold_window", single / live["1 trade a batch"], 5, "x"),
        Budget("the same, 64 frames and 64 trades a batch", many / live["64 trades a batch"], 5, "x"),
    ]
