"""The streams of Binance that tell of the book: `@depth`, and `@bookTicker`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from connectors.simulator.books import STEP_NS, BookModel, Side
from connectors.simulator.followed import Change, FollowedBook
from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Listing
from events.frames import Array

_MS: Final = 1_000_000
DEPTH_MS: Final = {
    False: {"depth": 1_000, "depth@100ms": 100},
    True: {"depth": 250, "depth@100ms": 100, "depth@500ms": 500},
}
"""The diff streams of spot, and of USD-M, with how often each tells."""


class DepthStream:
    """One diff stream: collects what changes, and tells it once an interval."""

    def __init__(self, listing: Listing, interval_ms: int, update_id: int) -> None:
        self._listing, self._steps_ns, self._told_id = listing, interval_ms * _MS, update_id
        self._bids: Side = {}
        self._asks: Side = {}

    def told(self, change: Change, skew_ns: int) -> str | None:
        """The frame that this change completes, if it does."""
        self._bids.update(change.bids)
        self._asks.update(change.asks)
        if change.ended is None:
            return None
        begun_ns = change.ended * STEP_NS
        if begun_ns // self._steps_ns == (begun_ns + STEP_NS) // self._steps_ns:
            return None
        frame = self._frame(change, (change.time_ns + skew_ns) // _MS)
        self._told_id = change.update_id
        self._bids, self._asks = {}, {}
        return frame

    def _frame(self, change: Change, event_ms: int) -> str:
        listing = self._listing
        times = f'"T":{event_ms},' if listing.linear else ""
        before = f'"pu":{self._told_id},' if listing.linear else ""
        return (
            f'{{"e":"depthUpdate","E":{event_ms},{times}"s":"{listing.market_id}","U":{self._told_id + 1},'
            f'"u":{change.update_id},{before}"b":[{levels_text(listing, self._bids.items())}],'
            f'"a":[{levels_text(listing, self._asks.items())}]}}'
        )


def levels_text(listing: Listing, levels: Iterable[tuple[int, int]]) -> str:
    """Levels as JSON, without the brackets around them."""
    price, qty = listing.asset.price_decimals, listing.asset.qty_decimals
    return ",".join(f'["{tick / 10**price:.{price}f}","{lots / 10**qty:.{qty}f}"]' for tick, lots in levels)


def book_ticker(listing: Listing, change: Change, skew_ns: int) -> str:
    """A frame of `@bookTicker`."""
    bid, bid_lots, ask, ask_lots = change.best
    price, qty = 10**listing.asset.price_decimals, 10**listing.asset.qty_decimals
    head = '"e":"bookTicker",' if listing.linear else ""
    event_ms = (change.time_ns + skew_ns) // _MS
    times = f',"T":{event_ms},"E":{event_ms}' if listing.linear else ""
    return (
        f'{{{head}"u":{change.update_id},"s":"{listing.market_id}",'
        f'"b":"{listing.price_text(bid / price)}","B":"{listing.qty_text(bid_lots / qty)}",'
        f'"a":"{listing.price_text(ask / price)}","A":"{listing.qty_text(ask_lots / qty)}"{times}}}'
    )


class BookStreams:
    """The streams of the book of one instrument that somebody listens to."""

    def __init__(self, ledger: Ledger, model: BookModel, now_ns: int) -> None:
        self._listing = ledger.listing
        self._book = FollowedBook(model, now_ns)
        self._depths: dict[str, DepthStream] = {}
        self._best: tuple[int, int, int, int] | None = None
        self.kinds: dict[str, None] = {}

    def add(self, kind: str) -> None:
        """Listen to `bookTicker`, or to a diff stream, from now on."""
        self.kinds[kind] = None
        if kind != "bookTicker" and kind not in self._depths:
            interval_ms = DEPTH_MS[self._listing.linear][kind]
            self._depths[kind] = DepthStream(self._listing, interval_ms, self._book.update_id)

    def remove(self, kind: str) -> None:
        """Listen to it no more."""
        self.kinds.pop(kind, None)
        self._depths.pop(kind, None)

    def advance(self, now_ns: int, rows: Array | None, skew_ns: int) -> Iterator[tuple[str, str]]:
        """(kind, frame) of all that is to be told until that time, in the order of time."""
        for change in self._book.advance(now_ns, rows):
            if "bookTicker" in self.kinds and change.best != self._best and change.best[0] and change.best[2]:
                self._best = change.best
                yield "bookTicker", book_ticker(self._listing, change, skew_ns)
            for kind, stream in self._depths.items():
                frame = stream.told(change, skew_ns)
                if frame is not None:
                    yield kind, frame


def snapshot(model: BookModel, listing: Listing, time_ns: int, next_id: int, limit: int) -> dict[str, Any]:
    """The book of `depth` at that time, when the next trade will have that id."""
    step = model.step_at(time_ns)
    bids, asks = model.book(step, next_id)
    price, qty = 10**listing.asset.price_decimals, 10**listing.asset.qty_decimals
    sides = {
        name: [
            [listing.price_text(tick / price), listing.qty_text(lots / qty)]
            for tick, lots in islice(side.items(), limit)
        ]
        for name, side in (("bids", bids), ("asks", asks))
    }
    return {"lastUpdateId": model.update_id(step, next_id), **sides}
