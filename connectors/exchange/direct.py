"""Frames of trades read past ccxt: to parse one takes it 16 of the 30 microseconds that a trade costs otherwise.

Of each venue one kind of frame is read here, that which pushes trades. Everything else, and whatever is not exactly as it should
be, is left to ccxt; so is the first trade of each market on each connection, by which it is known that both read the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import ccxt
import msgspec
from aiohttp import WSMsgType

from connectors.exchange.sequencer import Arrival
from connectors.exchange.taps import id_of, iso_ns

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

log = logging.getLogger(__name__)
_MS: Final = 1_000_000
_RECEIVED: Final = 1  # place in a row
_AT: Final = 2  # place in what was pushed
_TakerSide = Literal["buy", "sell"]
_SIGNS: Final = {"buy": 1, "sell": -1, "Buy": 1, "Sell": -1}
_Id = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
_SOME = msgspec.Meta(min_length=1)

Pushed = tuple[str, int, int, float, float, int, int]
"""A trade that a venue pushed: its name of the market, id, ns, price, quantity as it states it, the taker's side, and for how many
ids it stands.
"""


class _Binance(msgspec.Struct, tag_field="e", tag="aggTrade", gc=False):
    s: str
    a: _Id
    p: str
    q: str
    T: int
    m: bool


class _KrakenTrade(msgspec.Struct, gc=False):
    symbol: str
    side: _TakerSide
    price: float
    qty: float
    trade_id: _Id
    timestamp: str


class _Kraken(msgspec.Struct, tag_field="channel", tag="trade"):
    type: Literal["update"]
    data: Annotated[list[_KrakenTrade], _SOME]


class _OkxArgument(msgspec.Struct, tag_field="channel", tag="trades"):
    instId: str  # theirs


class _OkxTrade(msgspec.Struct, gc=False):
    tradeId: str
    px: str
    sz: str
    side: _TakerSide
    ts: str
    count: str | int | None = None


class _Okx(msgspec.Struct):
    arg: _OkxArgument
    data: Annotated[list[_OkxTrade], _SOME]


class _Coinbase(msgspec.Struct, tag_field="type", tag="match", gc=False):
    product_id: str
    trade_id: _Id
    side: _TakerSide  # the maker's
    price: str
    size: str
    time: str


class _BybitTrade(msgspec.Struct, gc=False):
    T: int
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str


class _Bybit(msgspec.Struct):
    topic: str
    data: Annotated[list[_BybitTrade], _SOME]


def _binance(frame: _Binance) -> list[Pushed]:
    return [(frame.s, frame.a, frame.T * _MS, float(frame.p), float(frame.q), -1 if frame.m else 1, 1)]


def _kraken(frame: _Kraken) -> list[Pushed]:
    return [(t.symbol, t.trade_id, iso_ns(t.timestamp), t.price, t.qty, _SIGNS[t.side], 1) for t in frame.data]


def _okx(frame: _Okx) -> list[Pushed]:
    name = frame.arg.instId
    return [
        (name, id_of(t.tradeId), int(t.ts) * _MS, float(t.px), float(t.sz), _SIGNS[t.side], int(t.count or 1))
        for t in frame.data
    ]


def _coinbase(frame: _Coinbase) -> list[Pushed]:
    side = -_SIGNS[frame.side]
    return [(frame.product_id, frame.trade_id, iso_ns(frame.time), float(frame.price), float(frame.size), side, 1)]


def _bybit(frame: _Bybit) -> list[Pushed]:
    channel, _, name = frame.topic.partition(".")
    if channel != "publicTrade":
        raise ValueError(f"no trades: {channel}")
    return [(name, id_of(t.i, counts=False), t.T * _MS, float(t.p), float(t.v), _SIGNS[t.S], 1) for t in frame.data]


def _reader(frame: type[Any], trades: Callable[[Any], list[Pushed]]) -> Callable[[str], list[Pushed]]:
    decode = msgspec.json.Decoder(frame).decode
    return lambda text: trades(decode(text))


READERS: Final[Mapping[str, Callable[[str], list[Pushed]]]] = {
    "binance": _reader(_Binance, _binance),
    "kraken": _reader(_Kraken, _kraken),
    "okx": _reader(_Okx, _okx),
    "coinbase": _reader(_Coinbase, _coinbase),
    "bybit": _reader(_Bybit, _bybit),
}
"""By venue, what reads the text of a frame of trades. Raises one of NOT_READ if it is anything else."""
NOT_READ: Final = (msgspec.DecodeError, ValueError)


class Direct:
    """What a connection does with a message, in place of ccxt's `handle_message`.

    Args:
        feed: takes the trades.
        connection: of ccxt, and new.
    """

    def __init__(self, feed: Feed, connection: Any) -> None:
        self._feed, self._connection, self._otherwise = feed, connection, connection.handle_message
        self._read, self._milliseconds = READERS[feed.exchange], feed.client.milliseconds
        self._routes: dict[str, tuple[int, Instrument | None]] = {}
        self._refused: set[str] = set()

    def __call__(self, message: Any) -> None:
        """Take a message."""
        if message.type is not WSMsgType.TEXT:
            self._otherwise(message)
            return
        try:
            trades = self._read(message.data)
        except NOT_READ:
            self._otherwise(message)
            return
        try:
            routes = [self._routes[trade[0]] for trade in trades]
        except KeyError:
            self._compare(message, trades)
            return
        self._connection.last_message_at = self._milliseconds()
        feed, now = self._feed, self._feed.clock.now()
        try:
            for (place, one), trade in zip(routes, trades):
                feed.arrived(place, one, None if one is None else arrival(one, trade, now), trade[_AT], now)
        except Exception as error:  # as in `client.guard`: else the connection would stay open and silent
            self._connection.on_error(ccxt.NetworkError(f"{feed.exchange}: a trade could not be taken: {error!r}"))

    def _compare(self, message: Any, trades: list[Pushed]) -> None:
        """Leave a frame to ccxt, and see whether the trades that come from it are those that were read here."""
        feed = self._feed
        feed.witnessed = []
        try:
            self._otherwise(message)
        finally:
            witnessed, feed.witnessed = feed.witnessed, None
        names = {trade[0] for trade in trades}
        routes = {(place, None if one is None else one.key): (place, one) for place, one, _ in witnessed}
        if len(names) != 1 or len(routes) != 1 or names & self._refused:
            return
        ((name,), ((place, one),)) = names, routes.values()
        if one is not None:
            theirs = {_comparable(given) for _, _, given in witnessed if given is not None}
            ours = {_comparable(arrival(one, trade, 0)) for trade in trades}
            if theirs != ours:
                self._refused.add(name)
                log.warning(
                    "%s: ccxt reads trades otherwise, so they are left to it: %s, not %s", one.key, theirs, ours
                )
                return
        self._routes[name] = place, one


def arrival(one: Instrument, trade: Pushed, received_ns: int) -> Arrival:
    """A trade as rows have it: quantities in base units."""
    _, last, at, price, qty, side, count = trade
    return Arrival(last - count + 1, last, (at, received_ns, last, last, price, one.read.base(qty, price), side, 0))


def _comparable(given: Arrival) -> tuple[Any, ...]:
    return given.first, given.last, *given.row[:_RECEIVED], *given.row[_RECEIVED + 1 :]
