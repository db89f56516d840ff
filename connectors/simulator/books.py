"""The order book around the trades: a seeded model in steps of 100 ms, which follows from the time and the last trade alone.

So the book of any moment can be asked for, whoever watched it before, and its update ids too.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import numpy as np

from connectors.simulator.ledger import Ledger
from connectors.simulator.model import generator
from events.frames import Array

STEP_NS: Final = 100_000_000
"""How long a book stands still if nothing trades."""
_IDS: Final = 16
"""Update ids of a step; every trade has one more."""
_SPREADS: Final = (1, 1, 1, 1, 1, 2, 2, 3)
_SPREAD_STEPS: Final = 16
_SIZES: Final = 1_024

_NEAR: Final = 24
"""Ticks from the best price within which every price is there; then twice as far only every second one, and so on."""
_SPACING: Final = 2 ** np.arange(1, 15)[:, None]
_BEGIN: Final = _NEAR * _SPACING // 2
_STEPS_OUT: Final = np.arange(_NEAR // 2) * _SPACING
_BUSY, _CALM = 6, 64
"""Steps between two changes of the quantity at an odd price, and at any other one."""

_MULTIPLIERS: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

Side = dict[int, int]
"""Lots by price in ticks, the best price first."""


class Last(NamedTuple):
    """The last trade, as a book sees it; `step` is that in which it was."""

    tick: int
    lots: int
    side: int
    step: int


class Ladder:
    """The prices of a book by its best bid and best ask, and the rhythm in which the quantity at each of them changes.

    Attributes:
        ticks: all prices, bids first, on each side the best one first.
        bids: how many of them are bids.
    """

    def __init__(self, bid: int, ask: int, salt: int) -> None:
        below, above = _prices(bid, -1), _prices(ask, 1)
        self.ticks = np.concatenate([below, above])
        self.bids, self._salt = len(below), salt
        self._keys = self.ticks.astype(np.uint64) * np.uint64(2)
        self._keys[self.bids :] += np.uint64(1)
        zeros = np.frexp((self.ticks & -self.ticks).astype(np.float64))[1] - 1
        self._weight = 1 + np.minimum(zeros, len(_SPACING))
        odd = zeros == 0
        self._period = np.where(odd, _BUSY, _CALM)
        own = (_mixed(self._keys, salt) >> np.uint64(7)).astype(np.int64)
        self._phase = np.where(odd, self.ticks >> 1, own) % self._period

    def due(self, step: int) -> Array:
        """The places of the levels whose quantity is drawn anew in that step: never none."""
        return np.flatnonzero((step + self._phase) % self._period == 0)

    def lots(self, step: int, sizes: Array, places: Array | slice = slice(None)) -> Array:
        """The lots at these places in that step, from a table of sizes: more at rounder prices."""
        version = (step + self._phase[places]) // self._period[places]
        drawn = _mixed(self._keys[places] ^ (version.astype(np.uint64) << np.uint64(20)), self._salt)
        lots: Array = sizes[(drawn >> np.uint64(17)) % np.uint64(_SIZES)] * self._weight[places]
        return lots


def _prices(best: int, sign: int) -> Array:
    """From the best price outwards, at most a quarter of it away."""
    far = best + sign * _BEGIN
    first = -(-far // _SPACING) if sign > 0 else far // _SPACING
    out = np.concatenate([best + sign * np.arange(_NEAR), (first * _SPACING + sign * _STEPS_OUT).ravel()])
    return out[(out > 0) & (abs(out - best) <= best // 4 + _NEAR)]


def _mixed(keys: Array, salt: int) -> Array:
    """A hash of each key."""
    first, second, third = (np.uint64(m) for m in _MULTIPLIERS)
    x = (keys + np.uint64(salt)) * first
    x ^= x >> np.uint64(30)
    x *= second
    x ^= x >> np.uint64(27)
    x *= third
    return x ^ (x >> np.uint64(31))


class BookModel:
    """The book of one instrument.

    Its quantities are drawn around the same size again and again, each level's in a rhythm of its own. The best price of one
    side is where the last trade was, with less at it until the step is over.

    >>> from connectors.simulator.listings import Listing
    >>> from connectors.simulator.recording import RecordedTape
    >>> from events.rows import TRADE
    >>> ledger = Ledger(Listing.of("binance:BTC/USDT"), RecordedTape(np.zeros(0, TRADE)), 0, 0)
    >>> bids, asks = BookModel(ledger, seed=1).book(0, 1_000)
    >>> list(bids)[:3], min(asks) - max(bids), len(bids) > 100 < len(asks)
    ([6000000, 5999999, 5999998], 2, True)

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
        drawn = generator(seed, "book " + listing.instrument).lognormal(1.0, 1.0, _SIZES)
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
        drawn = (step // _SPREAD_STEPS * _MULTIPLIERS[0] + self.salt) & 0xFFFFFFFFFFFFFFFF
        spread = _SPREADS[(drawn * _MULTIPLIERS[1] >> 40) % len(_SPREADS)]
        if last.side > 0 and last.tick > 1:
            return max(last.tick - spread, 1), last.tick
        return last.tick, last.tick + spread

    def book(self, step: int, next_id: int) -> tuple[Side, Side]:
        """(bids, asks) in that step, when the next trade will have that id."""
        last = self.last(next_id)
        bids, asks = self.sides(Ladder(*self.touch(step, last), self.salt), step)
        take(bids, asks, step, last)
        return bids, asks

    def sides(self, ladder: Ladder, step: int) -> tuple[Side, Side]:
        """(bids, asks) at the prices of a ladder, before anybody takes of them."""
        levels = list(zip(ladder.ticks.tolist(), ladder.lots(step, self.sizes).tolist()))
        return dict(levels[: ladder.bids]), dict(levels[ladder.bids :])


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
