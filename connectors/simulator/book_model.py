"""The order book around the trades: a seeded model in steps of 100 ms, which follows from the time and the last trade alone.

So the book of any moment can be asked for, whoever watched it before, and its update ids too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from connectors.simulator.books import Change, Side
from connectors.simulator.ladder import MULTIPLIERS, SIZES, Ladder
from connectors.simulator.ledger import Ledger
from connectors.simulator.model import generator
from events.frames import Array

STEP_NS: Final = 100_000_000
"""How long a book stands still if nothing trades."""
_IDS: Final = 16
"""Update ids of a step; every trade has one more."""
_SPREADS: Final = (1, 1, 1, 1, 1, 2, 2, 3)
_SPREAD_STEPS: Final = 16


class Last(NamedTuple):
    """The last trade, as a book sees it; `step` is that in which it was."""

    tick: int
    lots: int
    side: int
    step: int


class BookModel:
    """The book of one instrument.

    Its quantities are drawn around the same size again and again, each level's in a rhythm of its own. The best price of one
    side is where the last trade was, with less at it until the step is over.

    >>> from connectors.simulator.listings import Listing
    >>> from connectors.simulator.recording import RecordedTape
    >>> from events.rows import TRADE
    >>> ledger = Ledger(Listing.of("binance:BTC/USDT"), RecordedTape(np.zeros(0, TRADE)), 0, 0)
    >>> _, bids, asks = BookModel(ledger, seed=1).at(0, 1_000)
    >>> list(bids)[:3], min(asks) - max(bids), len(bids), len(asks)
    ([6000000, 5999999, 5999998], 1, 192, 192)

    Attributes:
        ledger: of its trades.
        sizes: lots that a level may have.
        salt: of its randomness.
    """

    def __init__(self, ledger: Ledger, seed: int) -> None:
        listing, asset = ledger.listing, ledger.listing.asset
        name = zlib.crc32(listing.instrument.encode())
        self.ledger, self.salt = ledger, (name << 32 | seed & 0xFFFFFFFF)
        self._offset_ns = name % 100 * 1_000_000  # so that not all books of a venue change at one moment
        self._first_step = (ledger.origin_ns - self._offset_ns) // STEP_NS
        self._price_scale, self._qty_scale = 10**asset.price_decimals, 10**asset.qty_decimals
        drawn = generator(seed, "book " + listing.instrument).lognormal(1.0, 1.0, SIZES)
        self.sizes = np.maximum(np.rint(drawn * 1_000 / asset.price * self._qty_scale), 1).astype(np.int64)

    def step_at(self, time_ns: int) -> int:
        """The step that a moment is in."""
        return max((time_ns - self._offset_ns) // STEP_NS, self._first_step)

    def end_ns(self, step: int) -> int:
        """When a step is over."""
        return (step + 1) * STEP_NS + self._offset_ns

    def update_id(self, step: int, next_id: int) -> int:
        """That of the book in this step, when the next trade will have that id."""
        return (step - self._first_step) * _IDS + next_id

    def last(self, next_id: int) -> Last:
        """The trade before that id; if there is none, one at the price where the model begins."""
        rows = self.ledger.rows(next_id - 1, next_id)
        if not len(rows):
            return Last(max(round(self.ledger.listing.asset.price * self._price_scale), 1), 0, -1, self._first_step - 1)
        return self.last_of(rows[-1])

    def last_of(self, row: Array) -> Last:
        """A TRADE row, as the book sees it."""
        tick, lots = round(float(row["price"]) * self._price_scale), round(float(row["qty"]) * self._qty_scale)
        return Last(max(tick, 1), lots, int(row["side"]), self.step_at(int(row["available_at"])))

    def touch(self, step: int, last: Last) -> tuple[int, int]:
        """The best bid and the best ask: a buyer took at the ask, a seller at the bid, and the other is a few ticks away."""
        drawn = (step // _SPREAD_STEPS * MULTIPLIERS[0] + self.salt) & 0xFFFFFFFFFFFFFFFF
        spread = _SPREADS[(drawn * MULTIPLIERS[1] >> 40) % len(_SPREADS)]
        if last.side > 0 and last.tick > 1:
            return max(last.tick - spread, 1), last.tick
        return last.tick, last.tick + spread

    def at(self, time_ns: int, next_id: int) -> tuple[int, Side, Side]:
        """(update id, bids, asks) at that time, when the next trade will have that id; the best prices first."""
        step, last = self.step_at(time_ns), self.last(next_id)
        bids, asks = self.sides(Ladder(*self.touch(step, last), self.salt), step)
        take(bids, asks, step, last)
        return self.update_id(step, next_id), bids, asks

    def follow(self, now_ns: int) -> FollowedBook:
        """It from now on."""
        return FollowedBook(self, now_ns)

    def sides(self, ladder: Ladder, step: int) -> tuple[Side, Side]:
        """(bids, asks) at the prices of a ladder, before anybody takes of them."""
        levels = list(zip(ladder.ticks.tolist(), ladder.lots(step, self.sizes).tolist()))
        return dict(levels[: ladder.bids]), dict(levels[ladder.bids :])


class FollowedBook:
    """The book of a model, moved on with time and trades; at every moment the same as the model says by itself.

    Attributes:
        bids, asks: lots by price in ticks, the best price first.
        update_id: of it.
        time_ns: of the last change.
        due_ns: when the step is over, and it changes next if nothing trades.
    """

    def __init__(self, model: BookModel, now_ns: int) -> None:
        self._model = model
        self.time_ns, self._next_id = now_ns, model.ledger.next_id
        self._step, self._last = model.step_at(now_ns), model.last(self._next_id)
        self.update_id, self.due_ns = model.update_id(self._step, self._next_id), model.end_ns(self._step)
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
        while time_ns >= self.due_ns:
            end_ns, began_ns = self.due_ns, self._step * STEP_NS
            self._step += 1
            self.due_ns = self._model.end_ns(self._step)
            yield self._changed(end_ns, (began_ns, began_ns + STEP_NS))

    def _changed(self, time_ns: int, ended: tuple[int, int] | None) -> Change:
        """Move to the step and the trade that are now the last ones."""
        if self._model.touch(self._step, self._last) != self._touch:
            before = self.bids, self.asks
            self._place()
            bids, asks = _difference(before[0], self.bids), _difference(before[1], self.asks)
        else:
            bids, asks = self._touched(ended is not None)
        first_id = self.update_id + 1
        self.time_ns, self.update_id = time_ns, self._model.update_id(self._step, self._next_id)
        return Change(time_ns, first_id, self.update_id, ended, bids, asks, self.best)

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


def take(bids: Side, asks: Side, step: int, last: Last) -> tuple[Side, int, int] | None:
    """Take what the last trade was, if it was in that step, from the level where it was, of which something is always left.

    Returns:
        The side, the price and the lots that were there, None if nothing was taken.
    """
    side = asks if last.side > 0 else bids
    if last.step != step or last.tick not in side:
        return None
    lots = side[last.tick]
    side[last.tick] = max(lots - last.lots, 1)
    return side, last.tick, lots
