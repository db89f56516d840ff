"""Closed klines of a span over REST, whole and in order: pages are put together from whichever end the venue gives them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from connectors.exchange.calls import Call
from connectors.exchange.kline_pages import WAYS, Asked, Kline, Way
from events.errors import InputError
from events.frames import Array
from events.rows import OHLCV
from events.times import DAY_NS, timeframe_ns

_CHUNK: Final = 20_000


async def klines(
    client: Any,
    symbol: str,
    timeframe: str,
    since_ns: int,
    until_ns: int,
    call: Call,
    clock: Callable[[], int] = time.time_ns,
) -> Array:
    """All closed klines of a span that the venue serves, as OHLCV rows in order of time.

    They open at or after `since_ns` and close at or before `until_ns`; `available_at` is the close, `seq` counts from 0, and
    `quote_volume` is NaN where the venue does not tell it.

    A kline counts as closed if the venue says so, or if the same or an earlier answer has a later one; however late it is by any
    clock, it is not given before. Coinbase says nothing and leaves out klines without a trade: there its own clock closes the
    newest one. Kraken serves the newest 720 alone, the others all they have; what a venue leaves out is missing here as well.

    Args:
        client: of ccxt, with its markets loaded.
        symbol: the market, in ccxt's spelling.
        timeframe: such as "1m" or "4h".
        since_ns: in ns.
        until_ns: in ns.
        call: makes the calls, and tries them again.
        clock: the time in ns, which stands in the rows as the time when they were received.

    Raises:
        InputError: the venue has no such timeframe, or what `call` raises.
    """
    length_ns, interval = _interval(client, timeframe)
    since_ns, until_ns = max(0, -(-since_ns // length_ns) * length_ns), until_ns // length_ns * length_ns
    if since_ns >= until_ns:
        return np.zeros(0, OHLCV)
    way = WAYS[client.id]
    asked = Asked(client, client.market(symbol), interval, length_ns, since_ns, until_ns, clock())
    closed_ns = int(await call(client.fetch_time)) * 1_000_000 if way.sparse else 0
    found = await (_forward if way.forward else _backward)(way, asked, call)
    given = [
        kline
        for kline, proven in found
        if proven or kline.told or kline.ts_open + length_ns <= closed_ns
        if since_ns <= kline.ts_open < until_ns
    ]
    return _rows(given, length_ns, clock())


async def kline_chunks(
    client: Any,
    symbol: str,
    timeframe: str,
    since_ns: int,
    until_ns: int,
    call: Call,
    clock: Callable[[], int] = time.time_ns,
) -> AsyncIterator[Array]:
    """The same as of `klines`, some two weeks of minutes at a time, oldest first.

    Raises:
        InputError: as `klines`.
    """
    length_ns, _ = _interval(client, timeframe)
    since_ns = max(0, -(-since_ns // length_ns) * length_ns)
    step_ns = _CHUNK * length_ns if WAYS[client.id].size else max(1, until_ns - since_ns)
    count = 0
    for at in range(since_ns, until_ns, step_ns):
        rows = await klines(client, symbol, timeframe, at, min(at + step_ns, until_ns), call, clock)
        rows["seq"] += count
        count += len(rows)
        yield rows


def timeframes(client: Any) -> dict[str, int]:
    """The timeframes of a venue's klines and their lengths in ns; those that no day is a multiple of are left out.

    >>> import ccxt.pro
    >>> list(timeframes(ccxt.pro.coinbaseexchange()))
    ['1m', '5m', '15m', '1h', '6h', '1d']
    """
    out = {}
    for name in client.timeframes:
        try:
            length_ns = timeframe_ns(name)
        except ValueError:
            continue
        if DAY_NS % length_ns == 0:
            out[name] = length_ns
    return out


def _interval(client: Any, timeframe: str) -> tuple[int, Any]:
    """(length in ns, the venue's name) of a timeframe."""
    lengths = timeframes(client)
    if timeframe not in lengths:
        raise InputError(f"{client.id} has no klines of {timeframe}, only of {', '.join(lengths)}")
    return lengths[timeframe], client.timeframes[timeframe]


async def _asked(way: Way, asked: Asked) -> list[Kline]:
    """A page, by time."""
    found = sorted(await way.page(asked))
    if any(kline.ts_open % asked.length_ns for kline in found):
        raise ValueError("klines open at times that are no multiples of their length")
    return found


async def _forward(way: Way, asked: Asked, call: Call) -> list[tuple[Kline, bool]]:
    """(kline, whether a later one was seen with it), page by page; each begins with the last one of the page before, which may have
    been forming then.
    """
    out: list[tuple[Kline, bool]] = []
    at, end = asked.since_ns, asked.until_ns + asked.length_ns  # with the one behind the last, which proves it
    while True:
        until_ns = end if not way.size else min(end, at + way.size * asked.length_ns)
        span = replace(asked, since_ns=at, until_ns=until_ns)
        page: list[Kline] = await call(_asked, way, span)
        out += [(kline, True) for kline in page[:-1]]
        if not way.size or len(page) < max(2, span.count) or page[-1].ts_open >= asked.until_ns:
            return out
        at = page[-1].ts_open


async def _backward(way: Way, asked: Asked, call: Call) -> list[tuple[Kline, bool]]:
    """(kline, whether a later one was seen before), newest page first, so that all but the very newest are closed."""
    pages: list[list[tuple[Kline, bool]]] = []
    end = asked.until_ns + asked.length_ns
    while end > asked.since_ns:
        span = replace(asked, since_ns=max(asked.since_ns, end - way.size * asked.length_ns), until_ns=end)
        page = [kline for kline in await call(_asked, way, span) if span.since_ns <= kline.ts_open < end]
        if page:
            pages.append([(kline, bool(pages) or kline is not page[-1]) for kline in page])
            end = page[0].ts_open
        else:
            end = await _day_before(way, replace(asked, until_ns=span.since_ns), call)
    return [kline for page in reversed(pages) for kline in page]


async def _day_before(way: Way, asked: Asked, call: Call) -> int:
    """Where the newest day of the span ends that has klines, so that long times without any are skipped; its begin if none has."""
    if asked.length_ns == DAY_NS:
        return asked.until_ns
    days_of = replace(asked, interval=asked.client.timeframes["1d"], length_ns=DAY_NS)
    first, end = asked.since_ns // DAY_NS * DAY_NS, -(-asked.until_ns // DAY_NS) * DAY_NS
    while end > first:
        since_ns = max(first, end - way.size * DAY_NS)
        page: list[Kline] = await call(_asked, way, replace(days_of, since_ns=since_ns, until_ns=end))
        if page:
            return min(asked.until_ns, page[-1].ts_open + DAY_NS)
        end = since_ns
    return asked.since_ns


def _rows(given: list[Kline], length_ns: int, received_ns: int) -> Array:
    rows = np.zeros(len(given), OHLCV)
    for name in Kline._fields[:-1]:
        rows[name] = [getattr(kline, name) for kline in given]
    rows["available_at"] = rows["ts_open"] + length_ns
    rows["ts_recv"], rows["seq"], rows["closed"] = received_ns, np.arange(len(given)), 1
    return rows
