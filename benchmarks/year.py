"""One instrument-year of 1m bars through the whole graph, digests of every stream included, beside TA-Lib's bare calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.bars import cut
from benchmarks.kernels import bare
from benchmarks.material import START, Count, CountPart, Memory, default_plan, frames, run, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, by_processor, measure
from benchmarks.whole import everything
from events.digest import Digests
from events.frames import Array, Frame
from events.streams import Columns, Stream, is_digested
from events.times import DAY_NS
from flows.plan import Plan
from operators.indicators import BAR_INPUTS, BUILTIN

YEAR_BARS = 525_600
PER_MINUTE = 2.0
"""Trades a minute: most bars come of trades, some are synthetic. Making bars of them is a small part of the time."""


class Digested(Count):
    """Counts rows and feeds the digest of each stream, as a run does when it ends."""

    def __init__(self, streams: dict[str, Stream]) -> None:
        super().__init__()
        self.streams = streams
        self.digests: dict[str, Digests] = {}

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> CountPart:
        """The partition."""
        return DigestedPart(self)

    def by_day(self) -> dict[str, dict[str, str]]:
        """All digests, by stream and day."""
        return {name: digests.by_day() for name, digests in self.digests.items()}


class DigestedPart(CountPart):
    """Feeds digests."""

    def __init__(self, sink: Digested) -> None:
        super().__init__(sink)
        self.sink = sink

    def write_batch(self, values: list[Frame]) -> None:
        """Count and digest these frames."""
        super().write_batch(values)
        for frame in values:
            if not len(frame.rows) or not is_digested(frame.name):
                continue
            stream = self.sink.streams[frame.name]
            columns = stream if isinstance(stream, Columns) else None
            digests = self.sink.digests.setdefault(frame.name, Digests(frame.name, columns))
            if isinstance(frame.rows, tuple):
                digests.add_records([record.ts for record in frame.rows], [record.canonical() for record in frame.rows])
            else:
                digests.add_rows(frame.rows)


def all_on() -> Plan:
    """Every dimension and built-in indicator there is, and some of TA-Lib's beside."""
    calls = [{"fn": fn, "timeperiod": 50} for fn in ("SMA", "RSI", "NATR", "CCI")] + [{"fn": "EMA", "timeperiod": 200}]
    return default_plan(indicators={"talib": calls, "builtin": sorted(BUILTIN)}, confluence={"preset": "full9"})


def bars_preset() -> Plan:
    """The preset for instruments of which there are only bars."""
    return default_plan(confluence={"preset": "bars3"})


def bare_calls(bars: dict[str, Array], plan: Plan) -> Any:
    """Every indicator's function over whole columns, which is TA-Lib's or our own, without histories, statuses and scores."""
    out: dict[str, Any] = {}
    lengths = dict(plan.timeframes)
    for name, rows in bars.items():
        columns = {field: np.ascontiguousarray(rows[field]) for field in BAR_INPUTS}
        for indicator in plan.analysis.indicators:
            if indicator.wide is not None:
                indicator.wide(lengths[name.removeprefix("bars.")]).advance(rows)
                continue
            made = indicator.batch(*(columns[taken] for taken in indicator.inputs))
            out = dict(zip(indicator.columns, made))
            columns |= out
    return out


def contenders(rows: Array, end_ns: int) -> list[Contender]:
    """All of them; those of the graph give digests of all streams."""
    data, plan = frames(rows, 100_000, end_ns), default_plan()
    bars = bare(rows, end_ns, plan)
    n = len(bars["bars.1m"])
    out = [
        Contender(
            "the functions of the default indicators, one call each", n, by_processor(lambda: bare_calls(bars, plan))
        )
    ]
    for what, chosen in (("bars3", bars_preset()), ("default settings", plan), ("everything on", all_on())):
        out.append(
            Contender(f"whole graph and digests, {what}", n, by_processor(lambda plan=chosen: digested(data, plan)))
        )
    return out


def digested(data: list[Frame], plan: Plan) -> Digested:
    """One run."""
    sink = Digested(plan.streams)
    run(Memory(data), everything(plan), sink)
    return sink


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    days = 20 if quick else 365
    rows, end_ns = cut(trades(days, PER_MINUTE, seed=5), 1 << 40)
    for contender in contenders(*cut(rows, 20_000)):
        contender.run()  # compiles what is compiled once
    measured = measure(contenders(rows, min(end_ns, START + days * DAY_NS)), 1, warm=False)
    show(console, f"{days} days of 1m bars through the whole graph, processor time", measured, "bars")
    seconds = {c.what: YEAR_BARS / c.rate for c in measured}
    return [
        Budget(f"a year of 1m bars, {what}", seconds[f"whole graph and digests, {what}"], bound, "s", at_most=True)
        for what, bound in (("bars3", 10), ("default settings", 60), ("everything on", 60))
    ]
