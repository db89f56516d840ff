"""Figures of all instruments together, under one key: breadth, dispersion, correlation, and the regime of the market.

A row at t is made of the bars that close at t, each waited for or void, and serves boundaries after t. Source: file 05 section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import GLOBAL, MEMBERS
from events.frames import Array, Frame, Rows
from events.rows import MARKET_ROW
from events.schema import END, FOREVER, NEVER, VOID
from events.times import MINUTE_NS
from operators.broadcast import AVERAGE_ROW, CLOSE_ROW, Fanout, Item, averages, closes, said
from operators.latest import AsOf, Input
from operators.market_kernels import FIVES_OF_30_DAYS, RING, walk
from operators.ordered import Ordered

BASE: Final = "bars.1m"
AVERAGED: Final = "features.30m"
AVERAGE: Final = "ema_50"
"""The column of `AVERAGED` that closes are held against."""
TOGETHER: Final = "global.1m"
EARLIER: Final = "market.1m"
"""What instruments get of `TOGETHER`: each row a nanosecond after its boundary, so that it is of no use at that one."""
MOST_KEYS: Final = 1000
_AVERAGE_TTL_NS: Final = 2 * 30 * MINUTE_NS - 1  # a bar's features live two bars


def stream_of(name: str, instrument: str) -> str:
    """What the stream of an instrument is called where all are under one key.

    >>> stream_of("bars.1m", "binance:BTC/USDT")
    'bars.1m@binance:BTC/USDT'
    """
    return f"{name}@{instrument}"


def to_market(column: int | None) -> Any:
    """A flat map of frames: the closes of all instruments to GLOBAL, this column of their 30m features, if there is one, and who
    joins and leaves.
    """

    def hear(frame: Frame) -> list[Item]:
        if frame.name == MEMBERS:
            return [(GLOBAL, frame)]
        if frame.name == BASE:
            rows = closes(frame.rows) if len(frame.rows) else frame.rows
        elif frame.name == AVERAGED and column is not None:
            rows = averages(frame.rows, column) if len(frame.rows) else frame.rows
        else:
            return []
        return [(GLOBAL, frame._replace(rows=rows, control=said(frame)))]

    return hear


class Market:
    """In: of each member the closes, "bars.1m@instrument", and where `averaged` the EMA50 of its 30m bars,
    "features.30m@instrument". Out: "global.1m", a row per boundary at which one of them has a bar.

    An instrument counts at t if it has a bar at t that is not void. Nothing is said (null) of fewer than 5 instruments with a
    return over 24 hours. A volatile market is told from a calm one when a quarter of 30 days of the reference is known; until
    then, and while it is void, no label is called volatile. State: 1,446 closes of each instrument, of at most 1,000.

    Args:
        members: instruments, those beyond the first 1,000 left out.
        reference: whose volatility is taken; none, if it is not a member.
        averaged: whether there are averages.
        base_ns: length of a base bar.
    """

    instrument = GLOBAL
    outputs = (TOGETHER,)

    def __init__(
        self, members: Iterable[str], reference: str | None = None, averaged: bool = True, base_ns: int = MINUTE_NS
    ) -> None:
        self.base_ns, self.averaged, self.of = base_ns, averaged, reference
        self.members: tuple[str, ...] = ()
        self.closes, self.newest, self.first = np.empty((0, RING)), np.empty(0, np.int64), np.empty(0, np.int64)
        self.voids: dict[str, tuple[tuple[int, int], ...]] = {}
        self.join = AsOf(())
        self.follow(tuple(members)[:MOST_KEYS])
        self.memory, self.volatile = np.full(FIVES_OF_30_DAYS, np.nan), np.array([NEVER, 0])
        self.dwell = np.array([NEVER, NEVER, 0])
        self.reached = NEVER

    def follow(self, members: tuple[str, ...]) -> None:
        """Take these from now on. Of those that stay, all stays known; of those that join, bars of before are history only."""
        before, keys = {name: k for k, name in enumerate(self.members)}, len(members)
        closes, newest, first = np.full((keys, RING), np.nan), np.full(keys, NEVER), np.full(keys, NEVER)
        for k, name in enumerate(members):
            if name in before:
                was = before[name]
                closes[k], newest[k], first[k] = self.closes[was], self.newest[was], self.first[was]
        self.closes, self.newest, self.first = closes, newest, first
        self.members, self.reference = members, members.index(self.of) if self.of in members else -1
        self.bars = [stream_of(BASE, name) for name in members]
        self.averages = [stream_of(AVERAGED, name) for name in members] if self.averaged else []
        self.voids = {name: self.voids[name] for name in self.bars if name in self.voids}
        self.join = self.join.having(tuple(Input(name, AVERAGE_ROW, _AVERAGE_TTL_NS) for name in self.averages))

    @property
    def streams(self) -> tuple[str, ...]:
        """All that it waits for."""
        return (*self.bars, *self.averages)

    def promise(self, name: str, watermark: int) -> int:
        """Up to the next boundary."""
        return min(-(-watermark // self.base_ns) * self.base_ns, FOREVER)

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Go through the boundaries that are complete."""
        bars, key, counts = self._bars(rows, control)
        at = np.ascontiguousarray(bars["available_at"])
        times = np.unique(at[counts == 1])
        average, average_g = self._averages(watermark, times, rows, control)
        out, codes = np.empty((len(times), 7)), np.empty((len(times), 2), np.int64)
        walk(
            at, np.ascontiguousarray(bars["g"]), np.ascontiguousarray(bars["close"]), key, counts, times, self.base_ns, average,
            average_g, self.reference, self.closes, self.newest, self.first, self.memory, self.volatile, self.dwell, out, codes,
        )  # fmt: skip
        self.reached = watermark
        kept = {name: tuple(span for span in spans if span[1] >= watermark) for name, spans in self.voids.items()}
        self.voids = {name: spans for name, spans in kept.items() if spans}
        if len(times):
            yield TOGETHER, _rows(times, out, codes)

    def _bars(self, rows: Mapping[str, Array], control: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """All new bars in the order of time and instruments, and ends of instruments; whose each is; and how it counts."""
        parts, keys, counts = [np.empty(0, CLOSE_ROW)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for k, name in enumerate(self.bars):
            ends = np.empty(0, CLOSE_ROW)
            if name in control:
                kind = control[name]["kind"]
                new = control[name][kind == VOID][["since", "until"]].tolist()
                self.voids[name] = (*self.voids.get(name, ()), *new)
                ends = np.zeros(int(np.count_nonzero(kind == END)), CLOSE_ROW)
                ends["available_at"] = control[name]["available_at"][kind == END]
            for part, of_end in ((rows.get(name, ends[:0]), False), (ends, True)):
                if len(part):
                    parts.append(part)
                    keys.append(np.full(len(part), k))
                    counts.append(np.full(len(part), -1) if of_end else self._counting(name, part["available_at"]))
        bars, key, count = np.concatenate(parts), np.concatenate(keys), np.concatenate(counts)
        order = np.lexsort((key, bars["available_at"]))  # a stable sort: of one time, an end stands behind a bar
        return bars[order], key[order], count[order]

    def _counting(self, name: str, at: Array) -> Array:
        """1 for a bar of its boundary, 0 for one that is void, though it came."""
        out = (at >= self.reached).astype(np.int64)
        for since, until in self.voids.get(name, ()):
            out[(at >= since) & (at <= until)] = 0
        return out

    def _averages(
        self, watermark: int, times: Array, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """Per time and instrument the newest average, NaN without one, and the index of the base bar that closed with it."""
        shape = len(times), len(self.members)
        average, g = np.full(shape, np.nan), np.zeros(shape, np.int64)
        joined = self.join.advance(watermark, times, rows, control)
        for k, name in enumerate(self.averages if len(times) else ()):
            found, age = joined[name]
            average[:, k] = found["ema"]
            g[:, k] = np.where(age >= 0, found["available_at"] // self.base_ns - 1, 0)
        return average, g

    def snapshot(self) -> Any:
        """The closes of a day, what is known of the reference's volatility, and the regime."""
        arrays = (self.closes, self.newest, self.first, self.memory, self.volatile, self.dwell)
        return tuple(a.tobytes() for a in arrays), dict(self.voids), self.reached, self.join.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot, of the same members."""
        held, voids, self.reached, joined = snapshot
        arrays = (self.closes, self.newest, self.first, self.memory, self.volatile, self.dwell)
        for array, blob in zip(arrays, held):
            array[:] = np.frombuffer(blob, array.dtype).reshape(array.shape)
        self.voids = dict(voids)
        self.join.restore(joined)


def _rows(times: Array, values: Array, codes: Array) -> Array:
    out = np.empty(len(times), MARKET_ROW)
    out["available_at"] = times
    names = ("breadth_up", "breadth_net", "dispersion_mad", "dispersion_sd", "mean_rho", "above_ema50", "ref_rv")
    for column, name in enumerate(names):
        out[name] = values[:, column]
    out["n"], out["market_regime"] = codes[:, 0], codes[:, 1]
    return out


class MarketStage:
    """A stage of the key GLOBAL. In: what `to_market` gives. Out: "global.1m", and for each member "market.1m", the same a
    nanosecond later. A member that leaves the universe is dropped with that, and does not come back in this run.

    Args:
        members, reference, averaged, base_ns: as for `Market`.
    """

    def __init__(self, members: Iterable[str], reference: str | None, averaged: bool, base_ns: int = MINUTE_NS) -> None:
        core = Market(members, reference, averaged, base_ns)
        self.ordered = Ordered(core, core.streams, driven=False)
        self.fanout = Fanout(core.members, (EARLIER,))
        self.ended: set[str] = set()
        self.out: list[Frame] = []

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        name = stream_of(frame.name, frame.instrument)
        if frame.name == BASE:
            self.out += self.fanout.hear(frame)
        if name in self.ended or name not in self.ordered.watermark:
            return
        if len(frame.control) and END in frame.control["kind"]:
            self.ended.add(name)
            frame = frame._replace(watermark=FOREVER)
        self.ordered.push(frame._replace(instrument=GLOBAL, name=name))

    def advance(self) -> list[Frame]:
        """The boundaries that are complete."""
        out, self.out = self.out, []
        for frame in self.ordered.advance():
            rows = frame.rows.copy()
            if len(rows):
                rows["available_at"] += 1
            out.append(frame)
            out += self.fanout.send(EARLIER, frame._replace(rows=rows, watermark=min(frame.watermark, FOREVER - 1) + 1))
        return out

    @property
    def left(self) -> bool:
        """False: it is of all instruments, whoever leaves."""
        return False

    def snapshot(self) -> Any:
        """That of the core, and who takes part."""
        return self.ordered.snapshot(), self.fanout.snapshot(), tuple(sorted(self.ended))

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        held, taking_part, ended = snapshot
        self.ordered.restore(held)
        self.fanout.restore(taking_part)
        self.ended = set(ended)
