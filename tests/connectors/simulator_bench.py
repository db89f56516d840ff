"""The exchange source on the local exchange while faults happen: what was traded, what was handed out, what bars became of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from connectors.exchange import ExchangeSource, Options
from connectors.simulator import Market
from connectors.simulator.exchange import Exchange
from events.errors import InputError
from events.feeds import TRADES
from events.frames import NO_ROWS, Array, Frame, control
from events.schema import COVERAGE, END, NEVER
from events.times import MINUTE_NS, SECOND_NS
from flows.graph import enter
from flows.plan import Plan
from flows.stages import bars_settings

BUSY = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD")
QUIET = ("binance:LTC/USDT", "kraken:ADA/USD")
PER_SECOND = 1_600
MINUTE_ENDS_NS = 1_750_000_080 * SECOND_NS
START_NS = MINUTE_ENDS_NS - 2 * SECOND_NS
QUICK = {"grid_s": 0.25, "settle_s": 0.3, "mute_s": 0.4, "stale_s": 5.0, "contact_s": 60.0}
FIELDS = ["trade_id", "available_at", "price", "qty", "side"]
WITHIN_S = 120.0

Script = list[tuple[float, Callable[["Bench"], None]]]
"""What is done, by the seconds since the market began to trade."""


@cache
def recording(seed: int, seconds: float, folder: Path) -> Path:
    """A market for so many seconds and some more, and for as many before."""
    span_ns = round((seconds + 30) * SECOND_NS)
    began, days = START_NS - span_ns // MINUTE_NS * MINUTE_NS - MINUTE_NS, (2 * span_ns + 2 * MINUTE_NS) / 86_400e9
    made = []
    for k, name in enumerate((*BUSY, *QUIET)):
        rate = 60.0 * PER_SECOND if name in BUSY else 60.0
        rows = Market(name, trades_per_minute=rate, seed=10 * seed + k).trades(began, days)
        rows = rows[abs(rows["available_at"] - START_NS) <= span_ns]
        sides = np.where(rows["side"] > 0, "buy", "sell")
        columns = {"instrument": [name] * len(rows), "ts_event": rows["available_at"], "side": sides}
        made.append(pa.table(columns | {"price": rows["price"], "qty": rows["qty"]}))
    path = folder / f"market_{seed}_{seconds:g}.parquet"
    pq.write_table(pa.concat_tables(made), path)
    return path


@dataclass
class Outcome:
    """What came of a run, all instruments together; everything but the first line has to be 0 where the venue serves the past.

    Attributes:
        lost, twice, out_of_order, wrong: trades that were not handed out, handed out again, after a later one, or not as traded.
        refused: rows that the intake did not take, late ones among them.
        gaps: that the intake states.
        reconnects, refilled, let_go: what the source had to do to get there.
    """

    trades: int = 0
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    wrong: int = 0
    late: int = 0
    refused: int = 0
    gaps: int = 0
    reconnects: int = 0
    refilled: int = 0
    let_go: int = 0
    repeated: int = 0
    heartbeats: int = 0
    happened: Counter[str] = field(default_factory=Counter)


class Bench:
    """A local exchange, and the partitions of a source on it with all that they have handed out.

    Attributes:
        counts: of feeds that have ended.
    """

    def __init__(self, exchange: Exchange, **options: float) -> None:
        self.exchange = exchange
        self.options = Options(**{**QUICK, **options})
        self.frames: dict[str, list[Frame]] = {name: [] for name in (*BUSY, *QUIET)}
        self.counts: Counter[str] = Counter()
        self._parts: list = []
        self._states: dict = {}
        self.connect()

    def connect(self) -> None:
        """Make a source, which goes on where the one before it ended."""
        symbols: dict[str, list[str]] = {}
        for instrument in self.frames:
            exchange, _, symbol = instrument.partition(":")
            symbols.setdefault(exchange, []).append(symbol)
        address = self.exchange.url.removeprefix("http://")
        source = ExchangeSource(symbols, self.options, dict.fromkeys(symbols, address))
        self._parts = [source.build_part("in", name, self._states.get(name)) for name in symbols]

    def disconnect(self) -> None:
        """End the source as a stop or a crash does: what it has not handed out is forgotten."""
        for part in self._parts:
            self._states[part.exchange] = part.snapshot()
            part.close()
            self.counts += Counter(part.feed.counts)
            for one in part.feed.instruments.values():
                for name in ("filled", "repeated", "let_go"):
                    self.counts[name] += getattr(one.order, name)
        self._parts = []

    def poll(self) -> None:
        """Take what has come, as the engine does."""
        taken = [item for part in self._parts for item in part.next_batch()]
        for instrument, frame in taken:
            self.frames[instrument].append(frame)
        if not taken:
            time.sleep(0.002)

    def until(self, reached: Callable[[], bool], polling: bool = True) -> None:
        """Poll, if it should, until something is so; the deadline is only there to end a test that has failed."""
        ends = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < ends, [(part.feed.counts, part.feed.error) for part in self._parts]
            self.poll() if polling else time.sleep(0.002)

    def until_refused(self) -> InputError:
        """Poll until the source gives up; the sentence with which it does."""
        try:
            self.until(lambda: False)
        except InputError as error:
            return error
        raise AssertionError("it did not give up")

    def until_overflow(self) -> None:
        """Take nothing until the queue of every feed has overflowed."""
        orders = [[one.order for one in part.feed.instruments.values()] for part in self._parts]
        self.until(lambda: all(any(order.let_go for order in some) for some in orders), polling=False)

    def run(self, seconds: float, script: Script, met: Callable[[], bool]) -> None:
        """Let the market trade for so long, with all that the script says, and until `met`; then until all of it is out."""
        self.until(lambda: all(map(self.covered, self.frames)))
        for at, act in [*sorted(script, key=lambda step: step[0]), (seconds, lambda bench: bench.until(met))]:
            self.until(lambda at=at: self.exchange.now_ns >= START_NS + at * SECOND_NS)
            act(self)
        self.exchange.clear()
        newest = {name: self.exchange.traded(name)["trade_id"].max(initial=NEVER) for name in self.frames}
        self.until(lambda: all(self._last_id(name) >= last for name, last in newest.items()))
        self.disconnect()

    def told(self, name: str) -> list[int]:
        """A count of each feed."""
        return [part.feed.counts[name] for part in self._parts]

    def until_connected(self) -> None:
        """Poll until every venue has a connection."""
        self.until(lambda: all(venue.sessions for venue in self.exchange.venues.values()))

    @property
    def happened(self) -> dict[str, Counter[str]]:
        """How often each fault has made a difference, by venue."""
        return {name: venue.faults.happened for name, venue in self.exchange.venues.items()}

    @property
    def heartbeats(self) -> int:
        """How many have been handed out."""
        return sum(frame.watermark > NEVER for frames in self.frames.values() for frame in frames)

    def covered(self, instrument: str) -> bool:
        """Whether an instrument has begun."""
        return any((frame.control["kind"] == COVERAGE).any() for frame in self.frames[instrument])

    def _last_id(self, instrument: str) -> int:
        rows = next((frame.rows for frame in reversed(self.frames[instrument]) if len(frame.rows)), None)
        return NEVER if rows is None else int(rows["trade_id"][-1])

    def outcome(self) -> Outcome:
        """What was handed out, beside what was traded; fails where bars of the one are not bars of the other."""
        counts, made = self.counts, Outcome()
        made.reconnects, made.refilled = counts["connected"], counts["filled"]
        made.let_go, made.repeated, made.heartbeats = counts["let_go"], counts["repeated"], self.heartbeats
        for counted in self.happened.values():
            made.happened += counted
        out, truth, closed = dict(self.frames), {}, 0
        for instrument, frames in self.frames.items():
            (covered,) = [row for frame in frames for row in frame.control if row["kind"] == COVERAGE]
            rows = np.concatenate([frame.rows for frame in frames])
            last_id, last_ns = rows["trade_id"].max(initial=NEVER), int(rows["available_at"].max(initial=NEVER))
            traded = self.exchange.traded(instrument, int(covered["id_from"]))
            traded = traded[traded["trade_id"] <= last_id]
            compare(made, rows, traded)
            closed += instrument in BUSY and int(covered["since"]) < MINUTE_ENDS_NS <= last_ns
            end = max(last_ns, int(covered["since"]), *(frame.watermark for frame in frames)) + 1
            ended = Frame(instrument, TRADES, NO_ROWS, end, control(END, end, end, end))
            began = Frame(instrument, TRADES, NO_ROWS, NEVER, np.array([covered]))
            out[instrument] = [*frames, ended]
            truth[instrument] = [began, Frame(instrument, TRADES, traded, NEVER), ended]
        through, right = bars_of(out), bars_of(truth)
        made.refused = sum(map(len, through.pop("dead_letters", ())))
        made.gaps = sum(map(len, through.pop("gaps", ())))
        counted = through.pop("counts")
        del right["counts"]
        made.late = sum(one.rejected.get("LATE", 0) for rows in counted for one in rows)
        assert through.keys() == right.keys()
        for key, parts in right.items():
            assert [rows.tobytes() for rows in through[key]] == [rows.tobytes() for rows in parts], key
        assert sum(map(len, through.get("bars.1m", ()))) >= closed
        return made


def compare(made: Outcome, rows: Array, traded: Array) -> None:
    """Add to an outcome what became of the trades of an instrument."""
    ids = rows["trade_id"]
    once, first = np.unique(ids, return_index=True)
    made.trades += len(traded)
    made.lost += len(np.setdiff1d(traded["trade_id"], once))
    made.twice += len(ids) - len(once)
    made.out_of_order += int((np.diff(ids) < 0).sum())
    real = traded[np.isin(traded["trade_id"], once)]
    told = rows[first][np.isin(once, traded["trade_id"])]
    made.wrong += len(once) - len(told) + int((told[FIELDS] != real[FIELDS]).sum())


def bars_of(frames: dict[str, list[Frame]]) -> dict[str, list]:
    """What the graph makes of frames up to bars: rows of each stream, those of each instrument in one piece."""
    flow, out = Dataflow("bars"), []
    given = [(instrument, frame) for instrument, some in frames.items() for frame in some]
    plan = Plan(bars_settings(["1m", "5m"]), frozenset(frames))
    made = enter(op.input("in", flow, TestingSource(given, 100)), plan)
    op.output("out", made, TestingSink(out))
    run_main(flow)
    found: dict[str, dict[str, list]] = {}
    for instrument, frame in out:
        if len(frame.rows):
            found.setdefault(frame.name, {}).setdefault(instrument, []).append(frame.rows)
    return {
        name: [
            sum(parts[key], ()) if isinstance(parts[key][0], tuple) else np.concatenate(parts[key])
            for key in sorted(parts)
        ]
        for name, parts in found.items()
    }


@contextmanager
def bench(
    folder: Path, seed: int, seconds: float, before: Callable[[Exchange], None], **options: float
) -> Iterator[Bench]:
    """The local exchange and a source on it, about to begin; `before` is done to the exchange first."""
    path = recording(seed, seconds, folder)
    with Exchange(recording=path, start_ns=START_NS + SECOND_NS // 20, seed=seed) as exchange:
        before(exchange)
        made = Bench(exchange, **options)
        try:
            yield made
        finally:
            made.disconnect()
