"""What each indicator costs in the runtime: in blocks of bars, and one bar at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console

from benchmarks.kernels import bare
from benchmarks.material import START, default_plan, trades
from benchmarks.tables import Budget, show_rows
from benchmarks.timing import Contender, by_processor, measure
from events.frames import Array
from events.times import DAY_NS, MINUTE_NS
from operators.analysis import Analysis, completed
from operators.history import Features
from operators.indicators import BUILTIN, TALIB_FUNCTIONS, Indicator, builtin_indicator, talib_indicator

QUICK, FULL = (4_096, 256), (20_480, 1_536)
"""Bars in blocks, and one at a time."""
SHOWN = 15
EVERY = 16
"""Of the functions of TA-Lib, one in so many is timed in a quick run."""

BASE = (talib_indicator("ATR", timeperiod=14), talib_indicator("SMA", timeperiod=20))
"""Are there anyway: a long history and a short one, so that what is timed is what one more indicator costs."""


class Cost(NamedTuple):
    """What an indicator adds to the runtime.

    Attributes:
        name: of the function.
        block_ns: per bar, thousands of bars in a frame.
        single_us: per bar, one bar a frame.
    """

    name: str
    block_ns: float
    single_us: float


def everyone(quick: bool) -> dict[str, Indicator]:
    """All functions of TA-Lib with their own defaults, and the built-in ones, by name."""
    functions = TALIB_FUNCTIONS[::EVERY] if quick else TALIB_FUNCTIONS
    return {name: talib_indicator(name) for name in functions} | {name: builtin_indicator(name) for name in BUILTIN}


def needed(indicator: Indicator) -> tuple[Indicator, ...]:
    """What runs without it: `BASE`, and the indicators whose columns it takes."""
    made = {column for base in BASE for column in base.columns} | {*indicator.columns}
    more = [other for other in completed((indicator,), ()) if not made & {*other.columns}]
    return (*BASE, *more)


def bars(n: int) -> Array:
    """So many 1m bars, the first at the start of a block of any history."""
    days = n // 1440 + 2
    rows = bare(trades(days, 10.0, seed=2), START + days * DAY_NS, default_plan())["bars.1m"]
    begin = int(rows["g"].searchsorted(-(-int(rows["g"][0]) // 1024) * 1024))
    return rows[begin : begin + n]


def features(indicators: Sequence[Indicator], rows: Array, chunk: int) -> Contender:
    """The runtime with these indicators and no scores, fed `chunk` rows at a time."""
    analysis = Analysis(tuple(indicators), ())
    parts = [rows[at : at + chunk] for at in range(0, len(rows), chunk)]

    def run() -> None:
        core = Features("1m", MINUTE_NS, analysis)
        for part in parts:
            for _ in core.advance(0, {core.source: part}, {}):
                pass

    return Contender("", len(rows), by_processor(run))


def costs(wanted: dict[str, Indicator], many: int, few: int, rounds: int) -> list[Cost]:
    """The cost of each: the runtime with it and what it needs, less the runtime with what it needs."""
    long, short = bars(many), bars(few)
    needs = {name: needed(indicator) for name, indicator in wanted.items()}
    columns = {name: tuple(c for i in need for c in i.columns) for name, need in needs.items()}
    bases = {key: k for k, key in enumerate(dict.fromkeys(columns.values()))}
    alone = {columns[name]: need for name, need in needs.items()}
    made = [features(alone[key], rows, chunk) for key in bases for rows, chunk in ((long, many), (short, 1))]
    for name, indicator in wanted.items():
        made += [features((*needs[name], indicator), rows, chunk) for rows, chunk in ((long, many), (short, 1))]
    spent = [1.0 / contender.rate for contender in measure(made, rounds)]
    out = []
    for k, name in enumerate(wanted, len(bases)):
        base = bases[columns[name]]
        out.append(Cost(name, 1e9 * (spent[2 * k] - spent[2 * base]), 1e6 * (spent[2 * k + 1] - spent[2 * base + 1])))
    return out


def totals(many: int, few: int, rounds: int) -> list[tuple[str, str, str]]:
    """Rows (runtime with what, ns a bar in blocks, us a bar alone), without scores."""
    long, short = bars(many), bars(few)
    found = {"nothing": (), "two": BASE, "the default indicators": default_plan().analysis.indicators}
    made = [features(who, rows, chunk) for who in found.values() for rows, chunk in ((long, many), (short, 1))]
    spent = iter([1.0 / contender.rate for contender in measure(made, rounds)])
    return [
        (f"{name} ({len(who)})", f"{1e9 * next(spent):,.0f}", f"{1e6 * next(spent):,.1f}")
        for name, who in found.items()
    ]


def _quantiles(name: str, values: list[float]) -> tuple[str, ...]:
    marks = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 0.95, 1.0]).tolist()
    return (name, *(f"{mark:,.1f}" for mark in marks), f"{np.sum(values):,.0f}")


def bench(console: Console, quick: bool, full: bool = False) -> list[Budget]:
    """Measure and print: quantiles and the slowest, or with `full` all of them."""
    many, few = QUICK if quick else FULL
    found = costs(everyone(quick), many, few, 1 if quick else 3)
    blocks, singles = [cost.block_ns for cost in found], [cost.single_us for cost in found]
    header = ("", "least", "25 %", "median", "75 %", "95 %", "most", "sum")
    rows = [_quantiles("ns a bar, in blocks", blocks), _quantiles("us a bar, one at a time", singles)]
    show_rows(console, f"What an indicator adds to the runtime, {len(found)} of them", header, rows)
    for title, key, mark in (("in blocks", 1, "ns"), ("one bar at a time", 2, "us")):
        order = sorted(found, key=lambda cost: -cost[key])
        shown = order if full else order[:SHOWN]
        table = [(c.name, f"{c.block_ns:,.0f}", f"{c.single_us:,.2f}") for c in shown]
        what = "All" if full else "The slowest"
        show_rows(console, f"{what} {title}, by {mark}", ("indicator", "ns a bar in blocks", "us a bar alone"), table)
        if full:
            break
    show_rows(
        console,
        "The runtime of one timeframe, without scores",
        ("with", "ns a bar in blocks", "us a bar alone"),
        totals(many, few, 3),
    )
    return []
