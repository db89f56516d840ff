"""Pages of past trades over REST, by id or by what comes nearest, one way per venue. ccxt's own pagination drops trades of one
millisecond at every edge, so it is not used.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from connectors.exchange.calls import Call
from connectors.exchange.client import exchange_of
from connectors.exchange.sequencer import Arrival
from connectors.exchange.taps import TradeReader
from connectors.exchange.venues import VENUES

PAGE: Final = 1_000
OKX_PAGE: Final = 100


class Page(NamedTuple):
    """Trades in rising order of ids; `full` if there may be more after them."""

    rows: list[Arrival]
    full: bool


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        client: of ccxt.
        symbol: the market, in ccxt's spelling.
        read: reads its trades.
        anchor: the id that was handed out last; None for the newest trades.
        anchor_ns: the time of that trade.
        received_ns: stands in the rows as the time when they were received.
    """

    client: Any
    symbol: str
    read: TradeReader
    anchor: int | None
    anchor_ns: int
    received_ns: int


Pager = Callable[[Asked], Awaitable[Page]]


async def _fetch(asked: Asked, limit: int | None, params: Mapping[str, Any]) -> tuple[list[Arrival], list[Any]]:
    """The trades of one call, in order of ids, since ccxt orders ids as text; and what ccxt gave."""
    trades = await asked.client.fetch_trades(asked.symbol, None, limit, dict(params))  # ccxt writes into it
    rows = [asked.read(trade, asked.received_ns) for trade in trades]
    return sorted(rows, key=lambda arrival: arrival.last), trades


async def binance_page(asked: Asked) -> Page:
    """Sums of trades from the anchor on, that included."""
    if asked.anchor is None:
        return Page((await _fetch(asked, 10, {}))[0], False)
    rows, _ = await _fetch(asked, PAGE, {"fromId": asked.anchor})
    return Page(rows, len(rows) >= PAGE)


async def kraken_page(asked: Asked) -> Page:
    """Trades after a time, which is text in nanoseconds. A page ends inside a nanosecond if it must, so the next one begins with it
    again; only where a whole page is of one time does it go on after that.
    """
    if asked.anchor is None:
        return Page((await _fetch(asked, 10, {}))[0], False)
    since = max(0, asked.anchor_ns - 1_001)  # times of REST are certain to the microsecond
    while True:
        rows, trades = await _fetch(asked, PAGE, {"since": str(since)})
        full = len(rows) >= PAGE
        if not full or rows[-1].last > asked.anchor:
            return Page(rows, full)
        last = max(int(trade["info"][7]) for trade in trades if len(trade["info"]) > 7)
        since = last - 1 if last - 1 > since else max(last, since + 1)


async def okx_page(asked: Asked) -> Page:
    """Trades one by one, 100 a page: those before an id."""
    if asked.anchor is None:
        return Page((await _fetch(asked, 10, {}))[0], False)
    rows, _ = await _fetch(asked, 500, {"method": "publicGetMarketTrades"})
    if not rows or rows[0].last <= asked.anchor:
        return Page([arrival for arrival in rows if arrival.last >= asked.anchor], False)
    history = {"method": "publicGetMarketHistoryTrades", "type": "1", "after": str(asked.anchor + OKX_PAGE)}
    return Page((await _fetch(asked, OKX_PAGE, history))[0], True)


async def coinbase_page(asked: Asked) -> Page:
    """Trades before an id, newest first, so that a page of 1,000 before the anchor's thousandth follower begins with the anchor."""
    if asked.anchor is None:
        return Page((await _fetch(asked, 10, {}))[0], False)
    rows, _ = await _fetch(asked, PAGE, {"after": asked.anchor + PAGE})
    kept = [
        arrival for arrival in rows if arrival.last >= asked.anchor
    ]  # near the newest, the page reaches further back
    return Page(kept, bool(kept) and kept[-1].last >= asked.anchor + PAGE - 1)


async def bybit_page(asked: Asked) -> Page:
    """The newest trades, 60 of spot and 1,000 of a contract; older ones are not served. Several of one millisecond may share a
    sequence number, so their order is that of the answer, which ccxt's `fetch_trades` would sort away.
    """
    market = asked.client.market(asked.symbol)
    category = "spot" if market["spot"] else "linear" if market["linear"] else "inverse"
    limit = 60 if market["spot"] else PAGE
    request = {"category": category, "symbol": market["id"], "limit": limit}
    answer = await asked.client.publicGetV5MarketRecentTrade(request)
    listed = answer["result"]["list"][::-1]
    rows = [asked.read(asked.client.parse_trade(trade, market), asked.received_ns) for trade in listed]
    return Page(sorted(rows, key=lambda arrival: arrival.row[0]), False)


PAGERS: Final[Mapping[str, Pager]] = {
    "binance": binance_page,
    "kraken": kraken_page,
    "okx": okx_page,
    "coinbase": coinbase_page,
    "bybit": bybit_page,
}


class Pages:
    """The past trades of one market, page by page.

    Args:
        client: of ccxt, with its markets loaded.
        symbol: the market, in ccxt's spelling.
        call: makes the calls.
    """

    def __init__(self, client: Any, symbol: str, call: Call) -> None:
        self.exchange = exchange_of(client)
        self._client, self._symbol, self._call = client, symbol, call
        self._read = VENUES[self.exchange].reader(client.market(symbol))

    async def page(self, anchor: int | None, anchor_ns: int = 0, known: bool = False) -> Page:
        """The trades from an anchor on, or the newest ones.

        Args:
            anchor: an id; None for the newest trades.
            anchor_ns: the time of that trade, or one before it, for a venue that is asked by time.
            known: whether there is a trade of that id; then a page that leaves it out is none, and is asked for again. (But
                not of Kraken, of which no more than a page can be had of one time.)
        """

        async def ask() -> Page:
            asked = Asked(self._client, self._symbol, self._read, anchor, anchor_ns, time.time_ns())
            page, by_time = await PAGERS[self.exchange](asked), self.exchange == "kraken"
            if known and not by_time and anchor is not None and not (page.rows and page.rows[0].last <= anchor + 1):
                raise ValueError("a page of trades does not begin where the one before ended")
            return page

        page: Page = await self._call(ask)
        return page

    async def rows(self, limit: int, params: Mapping[str, Any]) -> list[Arrival]:
        """What the venue gives for parameters of its own, by id."""

        async def ask() -> list[Arrival]:
            asked = Asked(self._client, self._symbol, self._read, None, 0, time.time_ns())
            return (await _fetch(asked, limit, params))[0]

        rows: list[Arrival] = await self._call(ask)
        return rows
