"""The order book: every update of it, reduced to one row a minute."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from events.feeds import BOOKS, FEEDS
from events.frames import Array, Rows
from events.records import DeadLetter
from events.rows import BOOK_MINUTE, GAP_ROW
from events.schema import BOOK_SEQUENCE, BOOK_SNAPSHOT, END, HOLE, LEAVE, NEVER, SYNCED, VOID
from events.times import MINUTE_NS
from events.validation import CROSSED, REASONS
from operators.microstructure.book_kernels import (
    BREAKS,
    CROSSES,
    STATE,
    SYNCS,
    WAITS,
    begin_hole,
    begin_void,
    new_state,
    pass_time,
    take,
)
from operators.microstructure.columns import MEANS, OFI_LEVELS
from operators.microstructure.levels import MOST_LEVELS
from operators.microstructure.waiting import Waiting

BOOK_MINUTES: Final = "book.1m"
BOOK_GAPS: Final = "gaps.book"
"""A stream of its own, since books and trades get on at their own pace, and times of a stream never go back."""

_NO_MINUTES = np.empty(0, BOOK_MINUTE)


class BookSettings(NamedTuple):
    """How the shape of a book is measured.

    Attributes:
        depth: best levels of either side that count, 20 to 1000.
        cap_mult: a level counts with at most so many times the median size of the best 20 levels of both sides; None: with all.
    """

    depth: int = 50
    cap_mult: float | None = 10.0


class BookMinutes:
    """In: "book". Out: "book.1m", a row per minute in which the book was known or changed; "gaps.book" and "dead_letters" where its
    updates do not follow each other.

    A book begins with a snapshot. An update that does not continue the one before, or that leaves the best bid at or above the
    best ask, is refused; the book is then STALE, stated as a gap with the reason book_seq, until the next snapshot, which the
    updates that came since then continue. So it is after a HOLE, by which a source states that updates are missing which show in
    no id. An update that ends at or below the last id changes nothing.

    A book is also STALE, for output, 30 s after its last update, and in a void. What comes after a void, or in it, takes effect
    when it ends. Order flow is that between states without such a break between them.

    Memory: two sides of at most 1000 levels; while a snapshot is missing, up to 5000 updates.

    Source: file 04 sections 1 to 3.
    """

    instrument = ""
    outputs = (BOOK_MINUTES, BOOK_GAPS, "dead_letters")

    def __init__(self, settings: BookSettings) -> None:
        if not 20 <= settings.depth <= MOST_LEVELS:
            raise ValueError(f"the depth of a book is from 20 to {MOST_LEVELS} levels, not {settings.depth}")
        self.depth = settings.depth
        self.cap_multiple = math.inf if settings.cap_mult is None else settings.cap_mult
        self.state = new_state()
        self.levels = np.zeros((2, 2, MOST_LEVELS))  # by side, keys and sizes
        self.quotes = np.zeros((2, 2, OFI_LEVELS))  # by side, keys and sizes of the best levels
        self.before = np.empty((2, 2, self.depth))
        self.means, self.sums = np.zeros(len(MEANS)), np.zeros(OFI_LEVELS + len(MEANS))
        self.waiting = Waiting(FEEDS[BOOKS].empty)
        self.gap: tuple[int, int, int, int] | None = None  # (since, reason, ids that are missing)
        self.refused = NEVER  # the offset of the last dead letter
        self.boundary = NEVER
        self.ended = False
        self.gaps: list[tuple[int, ...]] = []
        self.dead: list[DeadLetter] = []

    def promise(self, name: str, watermark: int) -> int:
        """Rows of minutes: up to the newest boundary, which itself is certain."""
        return watermark // MINUTE_NS * MINUTE_NS + 1 if name == BOOK_MINUTES else NEVER

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Take the updates, and close minutes."""
        if self.ended:
            return
        taken = rows.get(BOOKS, FEEDS[BOOKS].empty)
        said = control[BOOKS].tolist() if BOOKS in control else ()
        boundary = watermark // MINUTE_NS * MINUTE_NS
        for ts in (c[0] for c in said if c[1] in (END, LEAVE)):  # time that passed since is not the stream's
            boundary, self.ended = min(boundary, (ts + 1) // MINUTE_NS * MINUTE_NS), True
        if boundary <= self.boundary and not said and not len(taken):
            return
        breaks = sorted((c[2], c[1] == VOID, c[3], c[4]) for c in said if c[1] in (VOID, HOLE))
        out, n, at = self._room(taken, boundary, len(breaks)), 0, 0
        for since, void, until, reason in breaks:
            end = int(taken["available_at"].searchsorted(since, "left" if void else "right"))
            n, at = self._take(taken[at:end], out, n), max(at, end)
            if void:
                n = begin_void(self.state, self.levels, *self._measured, since, until, out, n)
            elif self.state["state"][0] == SYNCED:
                n = begin_hole(self.state, self.levels, *self._measured, since, out, n)
                self.gap = (since, reason, NEVER, NEVER)
                self.gaps.append((since, since, NEVER, reason, NEVER, NEVER))
        n = self._take(taken[at:], out, n)
        if boundary > self.boundary:
            self.boundary = boundary
            n = pass_time(self.state, self.levels, *self._measured, boundary, out, n)
        gaps, dead, self.gaps, self.dead = self.gaps, self.dead, [], []
        if n:
            yield BOOK_MINUTES, out[:n]
        if gaps:
            yield BOOK_GAPS, np.array(gaps, GAP_ROW)
        if dead:
            yield "dead_letters", tuple(dead)

    @property
    def _measured(self) -> tuple[int, float, Array, Array]:
        return self.depth, self.cap_multiple, self.means, self.sums

    def _room(self, rows: Array, boundary: int, voids: int) -> Array:
        """Room for all minutes that can close: bounded by what came, never by the time between."""
        newest = max(boundary, int(rows["available_at"][-1]) if len(rows) else NEVER, int(self.state["now"][0]))
        first = int(self.state["close"][0])
        if first == NEVER:
            first = int(rows["available_at"][0]) if len(rows) else newest
        closing = (newest - first) // MINUTE_NS + 2
        return np.empty(min(closing, 2 * (len(rows) + voids) + 4), BOOK_MINUTE) if closing > 1 else _NO_MINUTES

    def _take(self, rows: Array, out: Array, n: int) -> int:
        """Take updates. Gives the rows in `out` now."""
        at = 0
        while at < len(rows):
            first = at
            at, n, why = take(rows, at, self.state, self.levels, self.quotes, self.before, *self._measured, out, n)
            if why == WAITS:
                at = self._wait(rows, at)
            elif why == SYNCS:
                n = self._go_on(int(rows["available_at"][at - 1]), out, n)
            elif why in (BREAKS, CROSSES):
                self._refuse(rows, first, at, why)
        return n

    def _wait(self, rows: Array, at: int) -> int:
        """Keep updates for a snapshot. Gives the row of the next one."""
        snapshots = np.flatnonzero(rows["kind"][at:] == BOOK_SNAPSHOT)
        end = at + int(snapshots[0]) if len(snapshots) else len(rows)
        self.waiting.add(rows[at:end])
        return end

    def _go_on(self, at: int, out: Array, n: int) -> int:
        """After a snapshot: the gap is healed, and what waited continues the book. Gives the rows in `out` now."""
        if self.gap is not None:
            since, *why = self.gap
            self.gaps.append((at, since, at, *why))
            self.gap = None
        waiting = self.waiting.take()
        if self.state["u"][0] == NEVER:  # what came before a snapshot without an id is in it
            return n
        return self._take(waiting, out, n)

    def _refuse(self, rows: Array, first: int, end: int, why: int) -> None:
        """State that the book broke at the update before row `end`."""
        ends = np.flatnonzero(rows["last"][first : end - 1])
        row = rows[first + int(ends[-1]) + 1 if len(ends) else first]
        at, known = int(row["available_at"]), int(self.state["broken_u"][0])
        raw = dict(zip(row.dtype.names or (), row.tolist()))
        if why == BREAKS:
            reason, ids = "BOOK_SEQ", (known + 1, raw["u_first"] - 1)
            said = f"it begins with id {raw['u_first']} after {raw['u_prev']}, the book is at {known}"
            said = said.replace(f" after {NEVER}", "")
        else:
            reason, ids = REASONS[CROSSED], (NEVER, NEVER)
            said = "it leaves the best bid at or above the best ask"
        if self.gap is None:
            self.gap = (int(self.state["broken_at"][0]), BOOK_SEQUENCE, *ids)
            self.gaps.append((at, self.gap[0], NEVER, BOOK_SEQUENCE, *ids))
        self.refused = max(at, self.refused + 1)  # by time, so that one that leaves and joins again repeats none
        self.dead.append(
            DeadLetter(
                key=self.instrument,
                ts=at,
                source=f"{self.instrument}/{BOOK_MINUTES}",
                offset=self.refused,
                ts_event=at,
                ts_recv=raw["ts_recv"],
                step=BOOK_MINUTES,
                reason=reason,
                detail=f"an update of the book of {self.instrument}: {said}; the book waits for a snapshot",
                raw=raw,
            )
        )

    def snapshot(self) -> Any:
        """The levels, what the open minute holds so far, and what waits for a snapshot of the book."""
        sides = [self.levels[side, :, : int(self.state[n][0])].tobytes() for side, n in ((0, "n_bids"), (1, "n_asks"))]
        figures = self.quotes.tobytes(), self.means.tobytes(), self.sums.tobytes()
        marks = self.gap, self.refused, self.boundary, self.ended
        return self.state.tobytes(), sides, figures, self.waiting.rows(), marks

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        state, sides, (quotes, means, sums), waiting, marks = snapshot
        self.gap, self.refused, self.boundary, self.ended = marks
        self.state = np.frombuffer(state, STATE).copy()
        for side, n in enumerate(("n_bids", "n_asks")):
            count = int(self.state[n][0])
            self.levels[side, :, :count] = np.frombuffer(sides[side]).reshape(2, count)
        self.quotes = np.frombuffer(quotes).reshape(self.quotes.shape).copy()
        self.means, self.sums = np.frombuffer(means).copy(), np.frombuffer(sums).copy()
        self.waiting = Waiting(waiting)
