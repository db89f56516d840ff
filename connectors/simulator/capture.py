"""A captured session of Binance as a recording: its trades, and its book as it was told."""

from __future__ import annotations

import gzip
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from connectors.simulator.books import Change, Side
from connectors.simulator.listings import Asset, Listing
from connectors.simulator.recording import RecordedTape
from events.errors import InputError
from events.frames import Array
from events.rows import TRADE
from events.schema import FOREVER
from events.times import MINUTE_NS

_MS: Final = 1_000_000
_QUOTES: Final = ("USDT", "USDC", "FDUSD", "USD", "BTC", "ETH")
_APART: Final = 500
"""Updates between two books that are kept whole, from which any other one is made."""


class Told(NamedTuple):
    """One message about the book; `best` is None for an update, else it is of `@bookTicker`, and `first_id` is 0."""

    time_ns: int
    first_id: int
    update_id: int
    bids: Side
    asks: Side
    best: tuple[int, int, int, int] | None


class RecordedBook:
    """A book that is told as it was recorded: what a `BookModel` is to the trades of the model.

    Args:
        first_id: the update id of the snapshot.
        bids: lots by price in ticks.
        asks: the same.
        told: what came after it, in that order.
    """

    def __init__(self, first_id: int, bids: Side, asks: Side, told: list[Told]) -> None:
        self.told = told
        self._times = [one.time_ns for one in told]
        self._whole = [(first_id, dict(bids), dict(asks))]
        for start in range(0, len(told), _APART):
            self._whole.append(_moved(*self._whole[-1], told[start : start + _APART]))

    def place(self, time_ns: int) -> int:
        """How many messages there are until that time."""
        return bisect_right(self._times, time_ns)

    def at(self, time_ns: int, next_id: int) -> tuple[int, Side, Side]:
        """(update id, bids, asks) at that time, the best prices first."""
        place = self.place(time_ns)
        start = place // _APART
        update_id, bids, asks = _moved(*self._whole[start], self.told[start * _APART : place])
        return update_id, dict(sorted(bids.items(), reverse=True)), dict(sorted(asks.items()))

    def follow(self, now_ns: int) -> FollowedRecording:
        """It from now on."""
        return FollowedRecording(self, now_ns)


class FollowedRecording:
    """A recorded book that somebody watches; see `books.Followed`."""

    def __init__(self, book: RecordedBook, now_ns: int) -> None:
        self._book, self._place, self.time_ns = book, book.place(now_ns), now_ns
        self.update_id, self.bids, self.asks = book.at(now_ns, 0)
        self.best = (*next(iter(self.bids.items())), *next(iter(self.asks.items())))

    @property
    def due_ns(self) -> int:
        """When the next message comes."""
        return self._book.told[self._place].time_ns if self._place < len(self._book.told) else FOREVER

    def advance(self, now_ns: int, rows: Array | None) -> Iterator[Change]:
        """Every message until that time; the trades are in them already."""
        place = self._book.place(now_ns)
        for one in self._book.told[self._place : place]:
            self.best = one.best or self.best
            ended = None
            if one.best is None:
                ended = self.time_ns, one.time_ns
                self.update_id, self.time_ns = one.update_id, one.time_ns
                _apply(self.bids, one.bids)
                _apply(self.asks, one.asks)
            yield Change(one.time_ns, one.first_id, one.update_id, ended, one.bids, one.asks, self.best)
        self._place = max(self._place, place)


def _apply(side: Side, changes: Side) -> None:
    for tick, lots in changes.items():
        if lots:
            side[tick] = lots
        else:
            side.pop(tick, None)


def _moved(update_id: int, bids: Side, asks: Side, told: Iterable[Told]) -> tuple[int, Side, Side]:
    """A book after these messages; what was given stays as it is."""
    bids, asks = dict(bids), dict(asks)
    for one in told:
        if one.best is None:
            update_id = one.update_id
            _apply(bids, one.bids)
            _apply(asks, one.asks)
    return update_id, bids, asks


@dataclass
class _Session:
    """What a file says of its one instrument, in its own time."""

    symbol: str = ""
    linear: bool = False
    trades: list[dict[str, Any]] = field(default_factory=list)
    snapshot: dict[str, Any] | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)


def read_capture(path: Path, start_ns: int) -> dict[Listing, RecordedTape]:
    """The tape of a captured session, moved in time by whole minutes so that its first half lies before `start_ns`.

    Every line of the file is the local time in ns, a space, and a message of a combined stream, of `@trade`, `@depth` and
    `@bookTicker` of one symbol; the snapshot of the book is a line without a stream. Without one the book is that of the model.

    Raises:
        InputError: not such a file, or without trades.
    """
    try:
        session = _read(path)
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be served as a captured session ({type(error).__name__}: {error}): each line must be a time in ns"
            " and a message of a combined stream of Binance"
        ) from None
    if not session.trades:
        raise InputError(f"{path} holds no trades: there is nothing to serve")
    listing = _listing(session)
    times = [trade["T"] * _MS for trade in session.trades]
    shift = (start_ns - (min(times) + max(times)) // 2) // MINUTE_NS * MINUTE_NS
    rows = np.zeros(len(times), TRADE)
    rows["available_at"] = rows["ts_recv"] = np.array(times) + shift
    rows["price"] = [float(trade["p"]) for trade in session.trades]
    rows["qty"] = [float(trade["q"]) for trade in session.trades]
    rows["side"] = [-1 if trade["m"] else 1 for trade in session.trades]
    rows = rows[np.argsort(rows["available_at"], kind="stable")]
    return {listing: RecordedTape(rows, _book(session, listing, shift))}


def _read(path: Path) -> _Session:
    session = _Session()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line.split(" ", 1)[1])
            data = message.get("data", message)
            if "lastUpdateId" in data:
                session.snapshot = session.snapshot or data
                continue
            session.symbol, kind = data["s"], data.get("e", "bookTicker")
            if kind == "trade":
                session.trades.append(data)
            elif kind in ("depthUpdate", "bookTicker"):
                session.linear |= "pu" in data
                session.messages.append(data)
    return session


def _listing(session: _Session) -> Listing:
    symbol = session.symbol
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote)), symbol[-3:])
    pair = f"{symbol.removesuffix(quote)}/{quote}" + (f":{quote}" if session.linear else "")
    prices = [trade["p"] for trade in session.trades]
    sizes = [trade["q"] for trade in session.trades]
    for data in (session.snapshot or {}, *session.messages):
        for name in ("b", "a", "bids", "asks"):
            if isinstance(levels := data.get(name), list):
                prices += [price for price, _ in levels]
                sizes += [qty for _, qty in levels]
    price_decimals, qty_decimals = (max(_decimals(text) for text in texts) for texts in (prices, sizes))
    return Listing.of("binance:" + pair, Asset(float(session.trades[0]["p"]), price_decimals, qty_decimals))


def _decimals(text: str) -> int:
    return len(text.rstrip("0").partition(".")[2])


def _book(session: _Session, listing: Listing, shift_ns: int) -> RecordedBook | None:
    if session.snapshot is None:
        return None
    price, qty = 10**listing.asset.price_decimals, 10**listing.asset.qty_decimals

    def side(levels: list[list[str]]) -> Side:
        return {round(float(tick) * price): round(float(lots) * qty) for tick, lots in levels}

    first_id, told, time_ns = session.snapshot["lastUpdateId"], [], 0
    for data in session.messages:
        time_ns = max(time_ns, data.get("E", 0) * _MS + shift_ns)
        if data["u"] <= first_id or not time_ns:
            continue  # the snapshot has it
        if "U" in data:
            told.append(Told(time_ns, data["U"], data["u"], side(data["b"]), side(data["a"]), None))
        else:
            texts = (data["b"], data["B"], data["a"], data["A"])
            bid, bid_lots, ask, ask_lots = (round(float(t) * s) for t, s in zip(texts, (price, qty, price, qty)))
            told.append(Told(time_ns, 0, data["u"], {}, {}, (bid, bid_lots, ask, ask_lots)))
    return RecordedBook(first_id, side(session.snapshot["bids"]), side(session.snapshot["asks"]), told)
