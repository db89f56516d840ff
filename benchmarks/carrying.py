"""Many instruments with books, live: what one process carries, and whether memory and lag stay where they are."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from rich.console import Console

from benchmarks.live_runs import apart, begun, look_at, resident_mb, settings_of, until
from benchmarks.pushing import Plan, pushing
from benchmarks.tables import Budget, show_rows
from config import Settings
from connectors.segments import SegmentSink
from connectors.sqlite import SqliteSink
from events.feeds import BOOKS, TRADES
from events.frames import Frame
from events.times import SECOND_NS
from flows.engine import dataflow
from flows.graph import build_live
from flows.live import LiveRun
from flows.rundir import RunDirectory
from operators.keyed import Frames

UPDATES: Final = 10.0
"""Of each book, a second."""
TRADED: Final = 1_000.0
"""Trades a second, of all together."""
_MANY: Final = 200
_FEWER: Final = (150, 100, 75, 50, 25)
_THIRDS: Final = 3
_SETTLE_S: Final = 5.0
_FLAT_S: Final = 1.0
"""By so much the median lag of the last third may be above that of the first, where it does not grow."""
_LEAST_S, _FACTOR, _BINS = 1e-4, math.log(1.05), 400


class Spans:
    """Spans of time, counted by their length to 5 % and by the third of the run that they are of."""

    def __init__(self) -> None:
        self.counts = np.zeros((_THIRDS, _BINS), np.int64)
        self.third = -1

    def add(self, span_s: float) -> None:
        """Count one; none while nothing is measured."""
        if self.third >= 0:
            k = int(math.log(max(span_s, _LEAST_S) / _LEAST_S) / _FACTOR)
            self.counts[self.third, min(k, _BINS - 1)] += 1

    def percentile(self, third: int, percent: float) -> float:
        """The upper end of what so many percent are below; NaN of none."""
        of = self.counts[third]
        if not of.sum():
            return math.nan
        k = int(np.searchsorted(np.cumsum(of), of.sum() * percent / 100))
        return _LEAST_S * math.exp(_FACTOR * (k + 1))


class Carried(LiveRun):
    """A live run that counts updates of books as they come, how old they are by then, and how old rows of confluence leave."""

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        super().__init__(settings, directory, store=directory.recovery)
        self.updates, self.scores, self.came, self.left = 0, 0, Spans(), Spans()

    def flow(self) -> Dataflow:
        """The flow, with two steps more that count and change nothing."""
        segments = SegmentSink(self.directory.path, self.streams, self.plan.analysis_hash)
        sqlite = SqliteSink(self.directory.sqlite, self.streams, self.plan.analysis_hash)

        def graph(market: Frames) -> Frames:
            return op.map("left", build_live(op.map("came", market, self._came), self.plan), self._left)

        return dataflow("backtest", self.inputs, graph, segments, sqlite)

    def _came(self, item: tuple[str, Frame]) -> tuple[str, Frame]:
        rows = item[1].rows
        if item[1].name == BOOKS and len(rows):
            self.updates += int(np.count_nonzero(rows["last"]))
            self.came.add((self.inputs.now_ns("binance") - int(rows["available_at"][-1])) / SECOND_NS)
        return item

    def _left(self, item: tuple[str, Frame]) -> tuple[str, Frame]:
        if item[1].name == "confluence":
            now = self.inputs.now_ns("binance")
            self.scores += len(item[1].rows)
            for at in item[1].rows["available_at"].tolist():
                self.left.add((now - at) / SECOND_NS)
        return item


class Third(NamedTuple):
    """A third of a run.

    Attributes:
        rss_mb: mean memory.
        updates, processor: a second.
        dropped: updates that were dropped, as too many waited.
        waiting: most rows of books that waited to be handed out.
        came, left: (p50, p99) of the age in seconds of updates handed out, and of rows of confluence that leave the graph.
    """

    rss_mb: float
    updates: float
    processor: float
    dropped: int
    waiting: int
    came: tuple[float, float]
    left: tuple[float, float]


def carry(settings: Settings, folder: Path, many: int, seconds: float) -> list[Third]:
    """Run until all books are whole and two minutes have closed, and for so many seconds."""
    measured: list[tuple[Any, ...]] = []

    def look(live: Carried) -> None:
        until(lambda: begun(live) and _whole(live, many))
        scores = live.scores
        until(lambda: live.scores >= scores + 2 * many)  # the first whole bar has been through: all kernels are loaded
        time.sleep(_SETTLE_S)
        (feed,) = live.inputs.exchange.feeds.values()
        for third in range(_THIRDS):
            live.came.third = live.left.third = third
            began, updates, used = time.monotonic(), live.updates, time.process_time()
            dropped, rss, waiting = feed.books.counts["dropped"], [resident_mb()], [0]
            while time.monotonic() - began < seconds / _THIRDS:
                time.sleep(0.2)
                rss.append(resident_mb())
                waiting.append(feed.books.waiting)
            spent = time.monotonic() - began
            measured.append(
                (
                    float(np.mean(rss)),
                    (live.updates - updates) / spent,
                    (time.process_time() - used) / spent,
                    feed.books.counts["dropped"] - dropped,
                    max(waiting),
                )
            )

    with RunDirectory(folder / "run") as directory:
        live = Carried(settings, directory)
        look_at(live, lambda: look(live))
    marks = [[(of.percentile(k, 50), of.percentile(k, 99)) for of in (live.came, live.left)] for k in range(_THIRDS)]
    return [Third(*row, *found) for row, found in zip(measured, marks)]


def _whole(live: LiveRun, many: int) -> bool:
    (feed,) = live.inputs.exchange.feeds.values()
    books = feed.books.of(BOOKS)
    return len(books) == many and all(book.state.synced for book in books)


def carried(many: int, seconds: float, pace: float = 1.0) -> list[Third]:
    """A run of so many instruments. Ages mean something only where the clock of the market has the pace of the wall."""
    symbols = ("BTC/USDT", *(f"C{k:03}/USDT" for k in range(1, many)))
    plan = Plan("binance", symbols, 1 << 40, TRADED, round(pace * SECOND_NS / TRADED), quotes=UPDATES)
    with tempfile.TemporaryDirectory() as folder, pushing(plan) as address:
        settings = settings_of(address, symbols, Path(folder) / "markets", exchange={"feeds": (TRADES, BOOKS)})
        return apart(carry, settings, Path(folder), many, seconds)


def flat(thirds: list[Third]) -> bool:
    """Whether nothing was dropped and the lag did not grow."""
    growth = thirds[-1].came[0] - thirds[0].came[0]
    return growth < _FLAT_S and thirds[-1].came[1] < 10 * _FLAT_S and not any(third.dropped for third in thirds)


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print; where that many are not carried, how many are."""
    seconds = 30.0 if quick else 600.0
    thirds = carried(_MANY, seconds)
    _show(console, thirds, _MANY, seconds)
    most = _MANY if flat(thirds) else 0
    for many in () if most else _FEWER:
        fewer = carried(many, 30.0 if quick else 60.0)
        _show(console, fewer, many, 30.0 if quick else 60.0)
        if flat(fewer):
            most = many
            break
    first, last = thirds[0], thirds[-1]
    lag_ms = 1e3 * (last.came[0] - first.came[0])
    what = f"{_MANY} instruments with books, {seconds:g} s"
    return [
        Budget(f"{what}: growth of memory, last third", 100 * (last.rss_mb / first.rss_mb - 1), 5, "%", at_most=True),
        Budget(f"{what}: growth of the median lag", lag_ms, 1e3 * _FLAT_S, "ms", at_most=True),
        Budget(f"{what}: updates dropped", sum(third.dropped for third in thirds), 0, "updates", at_most=True),
        Budget("instruments with books that one process carries", most, _MANY, "instruments"),
    ]


def _show(console: Console, thirds: list[Third], many: int, seconds: float) -> None:
    rows = [
        (
            f"third {k + 1}",
            f"{of.rss_mb:,.0f}",
            f"{of.updates:,.0f}",
            f"{100 * of.processor:.0f}",
            f"{of.dropped:,}",
            f"{of.waiting:,}",
            *(f"{1e3 * span:,.0f}" for span in (*of.came, *of.left)),
        )
        for k, of in enumerate(thirds)
    ]
    header = ("of the time", "mean MB", "updates/s", "% of a core", "dropped", "rows waiting")
    ages = ("update p50 ms", "p99 ms", "score p50 ms", "p99 ms")
    title = f"{many} instruments with books, {many * UPDATES:,.0f} updates/s and {TRADED:,.0f} trades/s pushed, {seconds:g} s"
    show_rows(console, title, (*header, *ages), rows)
