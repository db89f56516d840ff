"""The streams of Binance that tell of the book: `@depth`, and `@bookTicker`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from connectors.simulator.books import Books, Change, Followed, Side
from connectors.simulator.faults import Crossing, Faults
from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Listing
from events.frames import Array

_MS: Final = 1_000_000
DEPTH_MS: Final = {
    False: {"depth": 1_000, "depth@100ms": 100},
    True: {"depth": 250, "depth@100ms": 100, "depth@500ms": 500},
}
"""The diff streams of spot, and of USD-M, with how often each tells."""
_SHORTEST_NS: Final = 100 * _MS


class DepthStream:
    """One diff stream: collects what changes, and tells it once an interval, as far as faults let it."""

    def __init__(self, listing: Listing, interval_ms: int, book: Followed, faults: Faults) -> None:
        self._listing, self._interval_ns, self._book, self._faults = listing, interval_ms * _MS, book, faults
        self._told_id, self._crossing = book.update_id, Crossing(faults)
        self._first_id: int | None = None
        self._bids: Side = {}
        self._asks: Side = {}

    def told(self, change: Change) -> str | None:
        """The frame that this change completes, if it does."""
        self._bids.update(change.bids)
        self._asks.update(change.asks)
        self._first_id = self._first_id or change.first_id
        if change.ended is None:
            return None
        began, ended = (time_ns // self._interval_ns for time_ns in change.ended)
        if began == ended and self._interval_ns > _SHORTEST_NS:
            return None
        self._bids |= self._crossing.bids(change.time_ns, change.best, self._book.bids)
        frame = self._frame(change, (change.time_ns + self._faults.ns("clock-skew")) // _MS)
        self._told_id, self._first_id = change.update_id, None
        self._bids, self._asks = {}, {}
        return None if self._faults.met("muted-depth") or self._faults.once("sequence-skip") else frame

    def _frame(self, change: Change, event_ms: int) -> str:
        listing = self._listing
        times = f'"T":{event_ms},' if listing.linear else ""
        before = f'"pu":{self._told_id},' if listing.linear else ""
        bids, asks = (
            ",".join(f'["{price}","{qty}"]' for price, qty in listing.level_texts(side.items()))
            for side in (self._bids, self._asks)
        )
        return (
            f'{{"e":"depthUpdate","E":{event_ms},{times}"s":"{listing.market_id}","U":{self._first_id},'
            f'"u":{change.update_id},{before}"b":[{bids}],"a":[{asks}]}}'
        )


def book_ticker(listing: Listing, change: Change, skew_ns: int) -> str:
    """A frame of `@bookTicker`."""
    bid, ask = listing.level_texts([change.best[:2], change.best[2:]])
    head = '"e":"bookTicker",' if listing.linear else ""
    event_ms = (change.time_ns + skew_ns) // _MS
    times = f',"T":{event_ms},"E":{event_ms}' if listing.linear else ""
    return (
        f'{{{head}"u":{change.update_id},"s":"{listing.market_id}",'
        f'"b":"{bid[0]}","B":"{bid[1]}","a":"{ask[0]}","A":"{ask[1]}"{times}}}'
    )


class BookStreams:
    """The streams of the book of one instrument that somebody listens to.

    Attributes:
        names: of the streams, by kind: `bookTicker`, or one of `DEPTH_MS`.
    """

    def __init__(self, ledger: Ledger, books: Books, now_ns: int, faults: Faults) -> None:
        self._listing, self._faults = ledger.listing, faults
        self._book = books.follow(now_ns)
        self._depths: dict[str, DepthStream] = {}
        self._best = self._book.best
        self.names: dict[str, str] = {}

    def add(self, kind: str, name: str) -> None:
        """Listen to a stream from now on."""
        self.names[kind] = name
        if kind != "bookTicker" and kind not in self._depths:
            interval_ms = DEPTH_MS[self._listing.linear][kind]
            self._depths[kind] = DepthStream(self._listing, interval_ms, self._book, self._faults)

    def remove(self, name: str) -> bool:
        """Listen to a stream no more; whether any is left."""
        for kind in [kind for kind, kept in self.names.items() if kept == name]:
            del self.names[kind]
            self._depths.pop(kind, None)
        return bool(self.names)

    @property
    def due_ns(self) -> int:
        """When the book changes next, if nothing trades until then."""
        return self._book.due_ns

    def advance(self, now_ns: int, rows: Array | None) -> Iterator[tuple[str, str]]:
        """(name, frame) of all that is to be told until that time, in the order of time."""
        for change in self._book.advance(now_ns, rows):
            if "bookTicker" in self.names and change.best != self._best:
                self._best = change.best
                yield self.names["bookTicker"], book_ticker(self._listing, change, self._faults.ns("clock-skew"))
            for kind, stream in self._depths.items():
                frame = stream.told(change)
                if frame is not None:
                    yield self.names[kind], frame


def snapshot(listing: Listing, books: Books, time_ns: int, next_id: int, limit: int) -> dict[str, Any]:
    """The book of `depth` at that time, when the next trade will have that id."""
    update_id, *sides = books.at(time_ns, next_id)
    bids, asks = (list(listing.level_texts(islice(side.items(), limit))) for side in sides)
    return {"lastUpdateId": update_id, "bids": bids, "asks": asks}
