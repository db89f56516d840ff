"""A book that somebody watches, from change to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from connectors.simulator.books import BookModel, Ladder, Side, take
from events.frames import Array


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a book at one moment.

    Attributes:
        time_ns: when.
        update_id: of the book after it.
        ended: the step that is over, None if the change is a trade.
        bids, asks: the lots of every level that was touched, 0 where it is gone.
        best: ticks and lots of the best bid, then of the best ask, after it.
    """

    time_ns: int
    update_id: int
    ended: int | None
    bids: Side
    asks: Side
    best: tuple[int, int, int, int]


class FollowedBook:
    """The book of a model, moved on with time and trades; at every moment the same as the model says by itself.

    Attributes:
        bids, asks: lots by price in ticks, the best price first.
        update_id: of it.
        time_ns: of the last change.
    """

    def __init__(self, model: BookModel, now_ns: int) -> None:
        self._model = model
        self.time_ns, self._next_id = now_ns, model.ledger.next_id
        self._step, self._last = model.step_at(now_ns), model.last(self._next_id)
        self.update_id = model.update_id(self._step, self._next_id)
        self._place()

    def advance(self, now_ns: int, rows: Array | None) -> Iterator[Change]:
        """Every change until that time, with the TRADE rows that are new; what traded at one time is one change."""
        if rows is not None and len(rows):
            times = rows["available_at"]
            for end in (np.flatnonzero(np.diff(times, append=times[-1] + 1)) + 1).tolist():
                row, time_ns = rows[end - 1], int(times[end - 1])
                yield from self._until(time_ns)
                self._last, self._next_id = self._model.last_of(row), int(row["trade_id"]) + 1
                yield self._changed(time_ns, None)
        yield from self._until(now_ns)

    def _until(self, time_ns: int) -> Iterator[Change]:
        while time_ns >= (end_ns := self._model.end_ns(self._step)):
            self._step += 1
            yield self._changed(end_ns, self._step - 1)

    def _changed(self, time_ns: int, ended: int | None) -> Change:
        """Move to the step and the trade that are now the last ones."""
        if self._model.touch(self._step, self._last) != self._touch:
            before = self.bids, self.asks
            self._place()
            bids, asks = _difference(before[0], self.bids), _difference(before[1], self.asks)
        else:
            bids, asks = self._touched(ended is not None)
        self.time_ns, self.update_id = time_ns, self._model.update_id(self._step, self._next_id)
        return Change(time_ns, self.update_id, ended, bids, asks, self.best)

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Ticks and lots of the best bid, then of the best ask."""
        return (*next(iter(self.bids.items())), *next(iter(self.asks.items())))

    def _place(self) -> None:
        """Put the book around the prices of the last trade."""
        self._touch = self._model.touch(self._step, self._last)
        self._ladder = Ladder(*self._touch, self._model.salt)
        self.bids, self.asks = self._model.sides(self._ladder, self._step)
        self._taken = take(self.bids, self.asks, self._step, self._last)

    def _touched(self, new_step: bool) -> tuple[Side, Side]:
        """Change quantities alone; those that were touched."""
        ladder = self._ladder
        bids: Side = {}
        asks: Side = {}
        if self._taken is not None:
            side, tick, lots = self._taken
            side[tick] = (bids if side is self.bids else asks)[tick] = lots
        if new_step:
            places = ladder.due(self._step)
            drawn = ladder.lots(self._step, self._model.sizes, places).tolist()
            for place, tick, lots in zip(places.tolist(), ladder.ticks[places].tolist(), drawn):
                side, told = (self.bids, bids) if place < ladder.bids else (self.asks, asks)
                side[tick] = told[tick] = lots
        self._taken = take(self.bids, self.asks, self._step, self._last)
        if self._taken is not None:
            side, tick, _ = self._taken
            (bids if side is self.bids else asks)[tick] = side[tick]
        return bids, asks


def _difference(old: Side, new: Side) -> Side:
    gone = dict.fromkeys(old.keys() - new.keys(), 0)
    return gone | {tick: lots for tick, lots in new.items() if old.get(tick) != lots}
