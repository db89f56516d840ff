"""Frames of best quotes read past ccxt, which takes a hundred microseconds for one.

Only what is exactly as it should be is read here. Everything else is left to ccxt; so is the first quote of each market on each
connection, by which it is known that both read the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import ccxt
import msgspec
from aiohttp import WSMsgType

from connectors.exchange.direct import NOT_READ
from events.schema import NEVER

if TYPE_CHECKING:
    from connectors.exchange.beside import Beside

log = logging.getLogger(__name__)
_MS: Final = 1_000_000


class Quote(NamedTuple):
    """The best bid and ask that a venue pushed, quantities as it states them.

    Attributes:
        name: its name of the market.
        at_ns: its time, NEVER where it states none.
        number: of the change, NEVER where it has none that only grows.
    """

    name: str
    at_ns: int
    number: int
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float


class _Binance(msgspec.Struct, gc=False):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    e: Literal["bookTicker"] = "bookTicker"
    T: int | None = None


_Side = Annotated[list[tuple[str, str, str, str]], msgspec.Meta(min_length=1, max_length=1)]


class _OkxArgument(msgspec.Struct, tag_field="channel", tag="bbo-tbt"):
    instId: str  # theirs


class _OkxQuote(msgspec.Struct, gc=False):
    bids: _Side
    asks: _Side
    ts: str


class _Okx(msgspec.Struct):
    arg: _OkxArgument
    data: Annotated[list[_OkxQuote], msgspec.Meta(min_length=1, max_length=1)]


def _binance(frame: _Binance) -> Quote:
    at = NEVER if frame.T is None else frame.T * _MS
    return Quote(frame.s, at, frame.u, float(frame.b), float(frame.B), float(frame.a), float(frame.A))


def _okx(frame: _Okx) -> Quote:
    quote = frame.data[0]
    (bid, bid_qty, *_), (ask, ask_qty, *_) = quote.bids[0], quote.asks[0]
    at = int(quote.ts) * _MS
    return Quote(frame.arg.instId, at, NEVER, float(bid), float(bid_qty), float(ask), float(ask_qty))


def _reader(frame: type[Any], quote: Callable[[Any], Quote]) -> Callable[[str], Quote]:
    decode = msgspec.json.Decoder(frame).decode
    return lambda text: quote(decode(text))


READERS: Final[Mapping[str, Callable[[str], Quote]]] = {
    "binance": _reader(_Binance, _binance),
    "okx": _reader(_Okx, _okx),
}
"""By venue, what reads the text of a frame of best quotes. Raises one of NOT_READ if it is anything else."""


class DirectQuotes:
    """What a connection does with a message, in place of ccxt's `handle_message`.

    Args:
        beside: takes the quotes.
        exchange: the venue's name, one of READERS.
        connection: of ccxt, and new.
    """

    def __init__(self, beside: Beside, exchange: str, connection: Any) -> None:
        self._beside, self._connection, self._otherwise = beside, connection, connection.handle_message
        self._read = READERS[exchange]
        self._symbols: dict[str, str] = {}
        self._refused: set[str] = set()

    def __call__(self, message: Any) -> None:
        """Take a message."""
        if message.type is not WSMsgType.TEXT:
            self._otherwise(message)
            return
        try:
            quote = self._read(message.data)
        except NOT_READ:
            self._otherwise(message)
            return
        symbol = self._symbols.get(quote.name)
        if symbol is None:
            self._compare(message, quote)
            return
        self._connection.last_message_at = self._beside.client.milliseconds()
        try:
            self._beside.quoted(symbol, quote)
        except Exception as error:  # as in `client.guard`: else the connection would stay open and silent
            self._connection.on_error(ccxt.NetworkError(f"a quote could not be taken: {error!r}"))

    def _compare(self, message: Any, quote: Quote) -> None:
        """Leave a frame to ccxt, and see whether the quote that comes of it is the one that was read here."""
        beside = self._beside
        beside.witnessed = []
        try:
            self._otherwise(message)
        finally:
            witnessed, beside.witnessed = beside.witnessed, None
        if len(witnessed) != 1 or quote.name in self._refused:
            return
        ((symbol, at_ns, *theirs),) = witnessed
        ours = [quote.bid, quote.bid_qty, quote.ask, quote.ask_qty]
        if (at_ns, theirs) != (quote.at_ns, ours):
            self._refused.add(quote.name)
            log.warning("%s: ccxt reads quotes otherwise, so they are left to it: %s, not %s", symbol, theirs, ours)
            return
        self._symbols[quote.name] = symbol
