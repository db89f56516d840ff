"""Time bars: the base timeframe from trades, longer ones folded from its closed bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from events.feeds import FEEDS, TRADES
from events.frames import Array, Rows
from events.rows import BAR, GAP_ROW
from events.schema import BEACON, COVERAGE, END, FLUSHED, GAP, HOLE, NEVER, NO_TRADES, UNVERIFIED
from operators.bar_kernels import EXTRA, PAUSE, build, close_fold, fold

_NO_BARS, _NO_PAUSES = np.empty(0, BAR), np.empty(0, PAUSE)
_NO_CONTROL: tuple[tuple[int, ...], ...] = ()


class Bars:
    """In: "trades". Out: "bars.{timeframe}", shortest first, "gaps", and at the end of a bounded run "bars.open.{timeframe}".

    Bars leave when the watermark passes a boundary of the base; between two boundaries a trade costs one kernel call. The base
    promises up to the boundary itself (t + 1 ns), a longer timeframe up to its next close, which is all that it can have: its
    indicators, their snapshots and the joins sleep until then. A quiet market is filled with at most `max_fill` synthetic bars
    in a row, so neither a gap nor a bad timestamp allocates by its length.

    Args:
        timeframes: (name, length in ns), the base first; the others are multiples of it, in rising order.
        max_fill: synthetic bars in a row, at least 1.
    """

    instrument = ""
    source = TRADES

    def __init__(self, timeframes: tuple[tuple[str, int], ...], max_fill: int) -> None:
        self.timeframes, self.max_fill = timeframes, max_fill
        self.base_ns = timeframes[0][1]
        self.outputs = (
            *(f"bars.{name}" for name, _ in timeframes),
            *(f"bars.open.{name}" for name, _ in timeframes),
            "gaps",
        )
        self.length = {f"bars.{name}": length for name, length in timeframes}
        self.open = [np.zeros(1, BAR) for _ in timeframes]
        self.extra = [np.zeros(1, EXTRA) for _ in timeframes]
        self.extra[0]["coverage"] = NEVER
        self.boundary = NEVER
        self.ended = False
        self.beacons: tuple[tuple[int, int], ...] = ()  # spans whose bars nobody verified
        self.holes: tuple[tuple[int, ...], ...] = ()  # rows of "gaps" whose end is ahead

    def promise(self, name: str, watermark: int) -> int:
        """Bars: see the class. Open bars and gaps promise nothing; nobody waits for them."""
        length = self.length.get(name)
        if length is None:
            return NEVER
        boundary = self._boundary(watermark)
        return boundary + 1 if length == self.base_ns else (boundary // length + 1) * length

    def _boundary(self, watermark: int) -> int:
        """The newest boundary up to which base bars are certain."""
        return watermark // self.base_ns * self.base_ns

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Build and fold."""
        if self.ended:
            return
        taken = rows.get(self.source, FEEDS[self.source].empty)
        said = control[self.source].tolist() if self.source in control else _NO_CONTROL
        boundary = self._boundary(watermark)
        if said:
            for ts in (c[0] for c in said if c[1] == END):  # time that passed since is not the stream's
                boundary = min(boundary, self._boundary(ts + 1))
            covered = [c[2] for c in said if c[1] == COVERAGE]
            if covered:
                self.extra[0]["coverage"] = covered[-1]
        if boundary <= self.boundary and not said and self._within(taken, boundary):
            return
        holes = sorted((c[2], c[3]) for c in said if c[1] == HOLE)
        bars, pauses = self._build(taken, boundary, holes)
        self.beacons += tuple((c[2], c[3]) for c in said if c[1] == BEACON)
        for since, until in self.beacons:
            bars["flags"][(bars["ts_close"] > since) & (bars["ts_close"] <= until)] |= UNVERIFIED
        self.beacons = tuple(beacon for beacon in self.beacons if beacon[1] > boundary)
        if boundary > self.boundary:
            self.boundary = boundary
            yield "bars." + self.timeframes[0][0], bars
            for k, (name, length) in enumerate(self.timeframes[1:], 1):
                out = np.empty(min(len(bars), self._span(bars, boundary, length)) + 1, BAR)
                n = fold(bars, boundary, self.base_ns, length, self.open[k], self.extra[k], out)
                yield f"bars.{name}", out[:n]
        self.ended = any(c[1] == END for c in said)
        self.holes += tuple((c[3], *c[2:]) for c in said if c[1] == HOLE)
        yield "gaps", self._gaps(pauses, boundary)
        if self.ended:
            yield from self._flush()

    def _gaps(self, pauses: Array, boundary: int) -> Array:
        """Pauses, and holes that end before any later pause can, in the order of their times."""
        due = [hole for hole in self.holes if hole[0] <= boundary or self.ended]
        self.holes = tuple(hole for hole in self.holes if hole not in due)
        gaps = np.empty(len(due) + len(pauses), GAP_ROW)
        gaps[: len(due)] = due
        paused = gaps[len(due) :]
        paused["since"], paused["until"] = pauses["since"], pauses["until"]
        paused["available_at"] = np.where(pauses["until"] == NEVER, pauses["since"], pauses["until"])
        paused["reason"], paused["id_from"], paused["id_to"] = NO_TRADES, NEVER, NEVER
        return gaps[np.lexsort((gaps["since"], gaps["available_at"]))] if due else gaps

    def _within(self, trades: Array, boundary: int) -> bool:
        """Take what closes no bar, if there is an open one: one kernel call and nothing more."""
        if not self.extra[0]["active"][0]:
            return False
        build(trades, boundary, self.base_ns, self.max_fill, self.open[0], self.extra[0], _NO_BARS, _NO_PAUSES)
        return True

    def _span(self, bars: Array, boundary: int, length: int) -> int:
        return int((boundary - bars["ts_open"][0]) // length) + 1 if len(bars) else 0

    def _build(self, trades: Array, boundary: int, holes: list[tuple[int, int]]) -> tuple[Array, Array]:
        """Base bars that close, and pauses; a hole is entered after the last trade before it."""
        out = np.empty(self._most(trades, boundary, len(holes)), BAR)
        pauses = np.empty(2 * (len(out) // self.max_fill + len(holes) + 1) + 2, PAUSE)
        bar, extra, n, p, at = self.open[0], self.extra[0], 0, 0, 0
        for since, until in holes:
            end = int(trades["available_at"].searchsorted(since, side="right"))
            part = since // self.base_ns * self.base_ns
            more, paused = build(trades[at:end], part, self.base_ns, self.max_fill, bar, extra, out[n:], pauses[p:])
            n, p, at = n + more, p + paused, end
            if extra["active"][0]:
                bar["flags"] |= GAP
                resumes = until // self.base_ns * self.base_ns
                if resumes > bar["ts_open"][0]:
                    extra["jump"] = resumes
        more, paused = build(trades[at:], boundary, self.base_ns, self.max_fill, bar, extra, out[n:], pauses[p:])
        return out[: n + more], pauses[: p + paused]

    def _most(self, trades: Array, boundary: int, holes: int) -> int:
        """At most so many base bars can close: bounded by rows, never by the time between them."""
        if boundary <= self.boundary:
            return 0
        by_rows = (len(trades) + holes + 1) * (self.max_fill + 1)
        since = self.boundary
        if since == NEVER:
            since = int(trades["available_at"][0]) if len(trades) else boundary
        return min(by_rows, (boundary - since) // self.base_ns + 1) + holes

    def _flush(self) -> Iterable[tuple[str, Rows]]:
        """The bars that are still open when a bounded run ends. They feed nothing."""
        for (name, length), bar, extra in zip(self.timeframes, self.open, self.extra):
            if extra["active"][0] and (length != self.base_ns or bar["n_trades"][0] > 0):
                flushed = bar.copy()
                close_fold(flushed[0], extra[0], 0)
                flushed["n_missing"] = length // self.base_ns - extra["members"][0] if length != self.base_ns else 0
                flushed["flags"] = bar["flags"] | FLUSHED
                yield f"bars.open.{name}", flushed

    def snapshot(self) -> Any:
        """The open bar of each timeframe."""
        bars, extras = (b"".join(a.tobytes() for a in arrays) for arrays in (self.open, self.extra))
        return bars, extras, self.boundary, self.ended, self.beacons, self.holes

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        bars, extras, self.boundary, self.ended, self.beacons, self.holes = snapshot
        self.open = [row.reshape(1).copy() for row in np.frombuffer(bars, BAR)]
        self.extra = [row.reshape(1).copy() for row in np.frombuffer(extras, EXTRA)]
