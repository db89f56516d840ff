"""What a recording of Binance websocket messages holds: its streams, its symbol, and how far off its local clock was."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from connectors.files.layouts import Binding
from events.errors import InputError
from events.feeds import BOOKS, LIQUIDATIONS, RATES, TICKERS, TOPS, TRADES

LAYOUT: Final = "binance-stream"
_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    LIQUIDATIONS: ("price", "qty", "pos", "complete"),
    BOOKS: ("u_first", "u_last", "u_prev", "price", "qty", "side", "kind", "last"),
    TOPS: ("seq", "bid", "bid_qty", "ask", "ask_qty", "no_event_time"),
    TICKERS: ("mark", "index"),
    RATES: ("rate", "interval_h", "ts_next", "mark", "index", "predicted"),
}
BINDINGS: Final[Mapping[str, Binding]] = {
    feed: Binding(LAYOUT, {role: role for role in ("time", "recv", *roles, "instrument")}, feed)
    for feed, roles in ({TRADES: ("id", "price", "qty", "maker")} | dict(_BESIDE)).items()
}
"""By stream: the tables made of a recording name their columns by role."""

TRADE_EVENTS: Final = ("trade", "aggTrade")
_EVENTS: Final = {
    BOOKS: b'"depthUpdate"',
    TICKERS: b'"markPriceUpdate"',
    RATES: b'"markPriceUpdate"',
    LIQUIDATIONS: b'"forceOrder"',
}
_SNAPSHOT: Final = b'"lastUpdateId"'
_SYMBOL: Final = re.compile(rb'"s":"([^"]*)"')
_QUOTE: Final = b'"e":"bookTicker"'
_SPOT_QUOTE: Final = re.compile(rb'\{"u":\d+,"s":"[^"]*","b":"[^"]*","B":')
_STAMPED: Final = re.compile(rb'^(\d{18,19}) [^\n]*"E":(\d+)', re.M)


@dataclass(frozen=True)
class Capture:
    """What a recording holds.

    Attributes:
        feeds: its streams.
        events: the events that are its trades: `trade` or `aggTrade`, empty without any.
        symbol: the only symbol that occurs in it; None: there are several, or it was not read to its end to know.
        snapshot: whether a REST snapshot of a book is in it.
        clock_ns: what to add to its local times, so that they are not behind the venue's clock: the most by which an event at its
            beginning was stated before it was received.
    """

    feeds: tuple[str, ...] = ()
    events: str = ""
    symbol: str | None = None
    snapshot: bool = False
    clock_ns: int = 0


def look(chunks: Iterable[tuple[bytes, int]], head: bytes, wanted: Collection[str] | None, label: str) -> Capture:
    """Look a recording through; where only its trades are wanted, up to the first of them.

    Of trades and aggregate trades it has those of the first chunk with any, trades before aggregates: a recording of both would
    count every trade twice.

    Args:
        chunks: its text in whole lines.
        head: its first lines.
        wanted: the streams to look for; None: all.
        label: the file, as messages name it.

    Raises:
        InputError: it holds nothing, whatever was wanted.
    """
    looked = frozenset(BINDINGS if wanted is None else wanted) & BINDINGS.keys()
    found: set[str] = set()
    stamped = head.lstrip()[:1].isdigit()  # best quotes of spot state no time of their own
    events, snapshot, symbol, alone = "", False, b"", True
    for chunk, _ in chunks:
        if not events and TRADES in looked:
            events = next((kind for kind in TRADE_EVENTS if f'"{kind}"'.encode() in chunk), "")
            found.update([TRADES] if events else [])
        if looked == found == {TRADES}:
            return Capture((TRADES,), events)
        found.update(feed for feed, mark in _EVENTS.items() if feed in looked and feed not in found and mark in chunk)
        if TOPS in looked and TOPS not in found and (_QUOTE in chunk or (stamped and _SPOT_QUOTE.search(chunk))):
            found.add(TOPS)
        snapshot = snapshot or _SNAPSHOT in chunk
        if not symbol and (first := _SYMBOL.search(chunk)):
            symbol = first[1]
        alone = alone and chunk.count(b'"s":') == chunk.count(b'"s":"' + symbol + b'"')
    if not found and wanted is None:
        raise InputError(
            f"{label} holds no message that is used: no trades, books, best quotes, marks or liquidations."
        )
    feeds = tuple(feed for feed in BINDINGS if feed in found)
    return Capture(feeds, events, symbol.decode() if symbol and alone else None, snapshot, clock_of(head))


def clock_of(head: bytes) -> int:
    """By how many ns the local clock of a recording with these first lines was behind the venue's, at least; 0 if it was not.

    >>> clock_of(b'1700000000000000000 {"data":{"E":1700000001270}}')
    1270000000
    >>> clock_of(b'1700000002000000000 {"data":{"E":1700000001270}}'), clock_of(b'{"E":1700000001270}')
    (0, 0)
    """
    return max([0, *(event_ns(int(stated)) - int(local) for local, stated in _STAMPED.findall(head))])


def event_ns(stated: int) -> int:
    """A time of Binance, in ms or in us, as ns.

    >>> event_ns(1_700_000_000_123) == event_ns(1_700_000_000_123_000)
    True
    """
    return stated * (1_000_000 if stated < 10**14 else 1_000)
