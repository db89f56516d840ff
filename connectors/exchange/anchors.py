"""The first trade at or after a time, by its id: where pages of past trades begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import ccxt

from connectors.exchange.calls import Call, once
from connectors.exchange.client import exchange_of
from connectors.exchange.pagers import OKX_PAGE, PAGE, Pages
from connectors.exchange.sequencer import AVAILABLE_AT
from events.errors import InputError
from events.times import HOUR_NS

_MS: Final = 1_000_000


async def first_at(client: Any, symbol: str, ns: int, call: Call = once) -> int | None:
    """The id of the first trade with a time at or after `ns`, as ids of `pagers` are: sums of trades on Binance.

    None if there is none yet, or if the venue cannot tell: Bybit serves the newest trades alone, and OKX those of about three
    months, so that no trade before the time may be left to show that the next one is the first. Ids are taken to rise with time.

    Args:
        client: of ccxt, with its markets loaded.
        symbol: the market, in ccxt's spelling.
        ns: the time, as rows have it in `available_at`.
        call: makes the calls; without one a failure is an error of ccxt.
    """
    find = _FINDERS.get(exchange_of(client))
    if find is None:
        return None
    return await find(Pages(client, symbol, call), ns)


async def _by_halves(pages: Pages, ns: int, first: int = 0, probe: int | None = None) -> int | None:
    """By ids alone, halving what is left; `probe` is where to look first."""
    newest = (await pages.page(None)).rows
    if not newest or newest[-1].row[AVAILABLE_AT] < ns:
        return None
    low, high = first, newest[-1].last
    found = high  # what is below `low` is too early, and `found` the first one that is not below `high`
    while low < high:
        middle = (low + high) // 2 if probe is None else min(max(probe, low), high - 1)
        probe = None
        at, rows = middle, (await pages.page(middle)).rows
        while not rows and at + PAGE < high:  # so many ids in a row that there are not
            at += PAGE
            rows = (await pages.page(at)).rows
        late = next((arrival.last for arrival in rows if arrival.row[AVAILABLE_AT] >= ns), None)
        if rows and late is None:
            low = rows[-1].last + 1
        elif late is not None and late != rows[0].last:
            return late
        else:
            found, high = found if late is None else late, middle
    return found


async def _binance(pages: Pages, ns: int) -> int | None:
    """The hour from a time on can be asked for; only where that does not show the first one is there more of a search."""
    since_ms = -(-ns // _MS)
    hour = {"startTime": since_ms, "endTime": since_ms + HOUR_NS // _MS - 1}
    try:
        inside = [arrival.last for arrival in await pages.rows(PAGE, hour)]
    except (ccxt.BadRequest, InputError):  # it may refuse times of long ago while ids are served
        inside = []
    return await _by_halves(pages, ns, probe=inside[0] - 1 if inside else None)


async def _kraken(pages: Pages, ns: int) -> int | None:
    anchor, anchor_ns = -1, ns
    while True:
        page = await pages.page(anchor, anchor_ns)
        late = next((arrival.last for arrival in page.rows if arrival.row[AVAILABLE_AT] >= ns), None)
        if late is not None or not page.full:
            return late
        anchor, anchor_ns = page.rows[-1].last, page.rows[-1].row[AVAILABLE_AT]


async def _okx(pages: Pages, ns: int) -> int | None:
    """Behind the last one before the time, for which it can be asked."""
    history = {"method": "publicGetMarketHistoryTrades"}
    rows = await pages.rows(OKX_PAGE, history | {"type": "2", "after": str(-(-ns // _MS))})
    while rows and rows[0].row[AVAILABLE_AT] >= ns:
        rows = await pages.rows(OKX_PAGE, history | {"type": "1", "after": str(rows[0].last)})
    if not rows:
        return None
    last = max(arrival.last for arrival in rows if arrival.row[AVAILABLE_AT] < ns)
    anchor = last
    while True:
        page = await pages.page(anchor)
        late = next((arrival.last for arrival in page.rows if arrival.last > last), None)
        if late is not None or not page.full:
            return late
        anchor += OKX_PAGE  # so many ids in a row that there are not


_FINDERS: Final[Mapping[str, Callable[[Pages, int], Awaitable[int | None]]]] = {
    "binance": _binance,
    "kraken": _kraken,
    "okx": _okx,
    "coinbase": _by_halves,
}
