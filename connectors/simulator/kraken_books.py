"""Channels `book` and `ticker` of version 2 of Kraken's websocket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final
from zlib import crc32

from connectors.simulator.books import Books, Change, Followed, Side
from connectors.simulator.faults import Crossing, Faults
from connectors.simulator.kraken_frames import iso_us, ticker_frame
from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Listing
from connectors.simulator.quotes import day_figures
from events.frames import Array

DEPTHS: Final = (10, 25, 100, 500, 1_000)
TRIGGERS: Final = ("trades", "bbo")
_CHECKED: Final = 10


def checksum(bids: Side, asks: Side) -> int:
    """What a client checks its book by: CRC32 of the ten best asks and bids, as texts without the point and zeros before it.

    >>> checksum({}, {5: 1}) == crc32(b"51")
    True
    """
    parts = []
    for side in (asks, bids):
        for tick, lots in islice(side.items(), _CHECKED):
            parts += [str(tick), str(lots)]  # whole numbers of the smallest steps are just that
    return crc32("".join(parts).encode())


class BookChannel:
    """One depth of the book, as a client has it who drops what falls out at the far end; as far as faults let it."""

    def __init__(self, listing: Listing, depth: int, book: Followed, faults: Faults) -> None:
        self._listing, self._depth, self._book, self._faults = listing, depth, book, faults
        self._crossing = Crossing(faults)
        self._bids, self._asks = self._top(book.bids), self._top(book.asks)

    def snapshot(self) -> str:
        """A message with all of it."""
        return self._frame("snapshot", self._bids, self._asks, None)

    def told(self, change: Change) -> str | None:
        """The message of a change, if it reaches this depth."""
        before = self._bids, self._asks
        self._crossing.bids(change.time_ns, change.best, self._book.bids)
        shown = self._crossing.crossed | self._book.bids
        self._bids, self._asks = self._top(shown), self._top(self._book.asks)
        bids, asks = _update(before[0], self._bids, shown), _update(before[1], self._asks, self._book.asks)
        if not (bids or asks) or self._faults.met("muted-depth") or self._faults.once("sequence-skip"):
            return None
        return self._frame("update", bids, asks, iso_us(change.time_ns + self._faults.ns("clock-skew")))

    def _top(self, side: Side) -> Side:
        return dict(islice(side.items(), self._depth))

    def _frame(self, kind: str, bids: Side, asks: Side, time: str | None) -> str:
        check = checksum(self._bids, self._asks)
        stamp = "" if time is None else f',"timestamp":"{time}"'
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{self._listing.symbol}",'
            f'"bids":[{self._levels(bids)}],"asks":[{self._levels(asks)}],"checksum":{check}{stamp}}}]}}'
        )

    def _levels(self, side: Side) -> str:
        texts = self._listing.level_texts(side.items())
        return ",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in texts)


def _update(before: Side, after: Side, whole: Side) -> Side:
    """What is new or other within the depth, and 0 for what is gone: not for what the book still has beyond it."""
    gone = {tick: 0 for tick in before if tick not in whole}
    return gone | {tick: lots for tick, lots in after.items() if before.get(tick) != lots}


class BookChannels:
    """The channels of the book of one instrument that somebody listens to.

    Attributes:
        names: of the streams, each with its channel and its depth or trigger.
    """

    def __init__(self, ledger: Ledger, books: Books, now_ns: int, faults: Faults) -> None:
        self._ledger, self._book, self._faults = ledger, books.follow(now_ns), faults
        self.names: dict[str, tuple[str, Any]] = {}
        self._books: dict[str, BookChannel] = {}
        self._best: dict[str, tuple[int, int, int, int]] = {}

    def add(self, name: str, channel: str, about: Any) -> str:
        """Listen from now on; the first message."""
        self.names[name] = channel, about
        if channel == "book":
            self._books.setdefault(name, BookChannel(self._ledger.listing, about, self._book, self._faults))
            return self._books[name].snapshot()
        return self._ticker("snapshot", self._book.time_ns)

    def keep(self, wanted: Mapping[str, None]) -> None:
        """Listen to no others any more."""
        for name in [name for name in self.names if name not in wanted]:
            del self.names[name]
            self._books.pop(name, None)
            self._best.pop(name, None)

    def advance(self, now_ns: int, rows: Array | None) -> Iterator[tuple[str, str]]:
        """(name, message) of all that is to be told until that time, in the order of time."""
        for change in self._book.advance(now_ns, rows):
            for name, (channel, about) in self.names.items():
                if channel == "book":
                    frame = self._books[name].told(change)
                    if frame is not None:
                        yield name, frame
                elif change.ended is None if about == "trades" else self._best.get(name) != change.best:
                    self._best[name] = change.best
                    yield name, self._ticker("update", change.time_ns)

    def _ticker(self, kind: str, time_ns: int) -> str:
        figures = day_figures(self._ledger, time_ns + 1, self._ledger.id_at(time_ns + 1))
        return ticker_frame(self._ledger.listing, kind, figures, self._book.best)
