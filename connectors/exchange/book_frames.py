"""Frames of order books, read past ccxt: of each venue the one kind that pushes levels, as updates of a book.

To leave them to ccxt costs twice as much, before anything is made of the book that it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from connectors.exchange.taps import iso_ns
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER

_MS: Final = 1_000_000
_KINDS: Final = {"snapshot": BOOK_SNAPSHOT, "delta": BOOK_DELTA, "update": BOOK_DELTA}

Level = tuple[float, float]
"""Price, and the quantity there now as the venue states it; 0 for none."""
_Levels = list[Level]
_Id = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
_SOME = msgspec.Meta(min_length=1)


class Update(NamedTuple):
    """One update of a book, or a whole book.

    Attributes:
        market: the venue's name of it.
        kind: BOOK_DELTA or BOOK_SNAPSHOT.
        at_ns: the venue's time, NEVER where it states none.
        first, last, prev: update ids as rows have them, NEVER where there are none.
        bids, asks: levels, of a snapshot all of them with the best first.
        checksum: of the book after it, None where the venue gives none.
    """

    market: str
    kind: int
    at_ns: int
    first: int
    last: int
    prev: int
    bids: _Levels
    asks: _Levels
    checksum: int | None = None


class _Binance(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: int
    s: str
    U: _Id
    u: _Id
    b: _Levels
    a: _Levels
    pu: int | None = None


class _BybitBook(msgspec.Struct, gc=False):
    s: str
    b: _Levels
    a: _Levels
    u: _Id


class _Bybit(msgspec.Struct, gc=False):
    topic: str
    type: Literal["snapshot", "delta"]
    ts: int
    data: _BybitBook


class _OkxArgument(msgspec.Struct, tag_field="channel", tag="books"):
    instId: str  # theirs


class _OkxLevel(msgspec.Struct, array_like=True, gc=False):
    price: float
    qty: float


class _OkxBook(msgspec.Struct, gc=False):
    bids: list[_OkxLevel]
    asks: list[_OkxLevel]
    ts: int
    seqId: int = NEVER  # theirs
    prevSeqId: int = NEVER


class _Okx(msgspec.Struct):
    arg: _OkxArgument
    action: Literal["snapshot", "update"]
    data: Annotated[list[_OkxBook], _SOME]


class _KrakenLevel(msgspec.Struct, gc=False):
    price: float
    qty: float


class _KrakenBook(msgspec.Struct, gc=False):
    symbol: str
    bids: list[_KrakenLevel]
    asks: list[_KrakenLevel]
    checksum: int | None = None
    timestamp: str | None = None


class _Kraken(msgspec.Struct, tag_field="channel", tag="book"):
    type: Literal["snapshot", "update"]
    data: Annotated[list[_KrakenBook], _SOME]


class _CoinbaseSnapshot(msgspec.Struct, tag_field="type", tag="snapshot", gc=False):
    product_id: str
    bids: _Levels
    asks: _Levels
    time: str | None = None


class _CoinbaseUpdate(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    product_id: str
    changes: list[tuple[Literal["buy", "sell"], float, float]]
    time: str


def _binance(frame: _Binance) -> list[Update]:
    prev = NEVER if frame.pu is None else frame.pu
    return [Update(frame.s, BOOK_DELTA, frame.E * _MS, frame.U, frame.u, prev, frame.b, frame.a)]


def _bybit(frame: _Bybit) -> list[Update]:
    if not frame.topic.startswith("orderbook."):
        raise ValueError(f"no book: {frame.topic}")
    book, at = frame.data, frame.ts * _MS
    if frame.type == "snapshot" or book.u == 1:  # the latter after the venue has begun anew
        return [Update(book.s, BOOK_SNAPSHOT, at, NEVER, book.u, NEVER, book.b, book.a)]
    return [Update(book.s, BOOK_DELTA, at, book.u, book.u, book.u - 1, book.b, book.a)]


def _okx(frame: _Okx) -> list[Update]:
    out, kind = [], _KINDS[frame.action]
    for book in frame.data:
        bids, asks = ([(level.price, level.qty) for level in side] for side in (book.bids, book.asks))
        first, prev = (NEVER, NEVER) if kind == BOOK_SNAPSHOT else (book.seqId, book.prevSeqId)
        out.append(Update(frame.arg.instId, kind, book.ts * _MS, first, book.seqId, prev, bids, asks))
    return out


def _kraken(frame: _Kraken) -> list[Update]:
    out, kind = [], _KINDS[frame.type]
    for book in frame.data:
        bids, asks = ([(level.price, level.qty) for level in side] for side in (book.bids, book.asks))
        at = NEVER if book.timestamp is None else iso_ns(book.timestamp)
        out.append(Update(book.symbol, kind, at, NEVER, NEVER, NEVER, bids, asks, book.checksum))
    return out


def _coinbase(frame: _CoinbaseSnapshot | _CoinbaseUpdate) -> list[Update]:
    at = NEVER if frame.time is None else iso_ns(frame.time)
    if isinstance(frame, _CoinbaseSnapshot):
        return [Update(frame.product_id, BOOK_SNAPSHOT, at, NEVER, NEVER, NEVER, frame.bids, frame.asks)]
    bids = [(price, qty) for side, price, qty in frame.changes if side == "buy"]
    asks = [(price, qty) for side, price, qty in frame.changes if side == "sell"]
    return [Update(frame.product_id, BOOK_DELTA, at, NEVER, NEVER, NEVER, bids, asks)]


def _reader(frame: Any, updates: Callable[[Any], list[Update]]) -> Callable[[str], list[Update]]:
    decode = msgspec.json.Decoder(frame, strict=False).decode  # numbers are in text, and are read as numbers at once
    return lambda text: updates(decode(text))


READERS: Final[Mapping[str, Callable[[str], list[Update]]]] = {
    "binance": _reader(_Binance, _binance),
    "kraken": _reader(_Kraken, _kraken),
    "okx": _reader(_Okx, _okx),
    "coinbase": _reader(_CoinbaseSnapshot | _CoinbaseUpdate, _coinbase),
    "bybit": _reader(_Bybit, _bybit),
}
"""By venue, what reads the text of a frame of a book. Raises one of NOT_READ if it is anything else."""
NOT_READ: Final = (msgspec.DecodeError, ValueError)

_ARE_BOOKS: Final[Mapping[str, Callable[[dict[str, Any]], bool]]] = {
    "binance": lambda frame: frame.get("e") == "depthUpdate",
    "kraken": lambda frame: frame.get("channel") == "book" and "data" in frame,
    "okx": lambda frame: "data" in frame and frame.get("arg", {}).get("channel") == "books",
    "coinbase": lambda frame: frame.get("type") in ("snapshot", "l2update"),
    "bybit": lambda frame: str(frame.get("topic")).startswith("orderbook."),
}


def is_book(exchange: str, text: str) -> bool:
    """Whether a frame that could not be read should have been of a book.

    >>> is_book("binance", '{"e":"depthUpdate","U":"?"}'), is_book("binance", '{"result":null,"id":1}')
    (True, False)
    """
    try:
        frame = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False  # such as a pong
    return isinstance(frame, dict) and _ARE_BOOKS[exchange](frame)
