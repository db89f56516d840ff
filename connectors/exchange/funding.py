"""Funding rates of the past over REST: what was settled in a span, page by page, each with the hours that it was for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from connectors.exchange.calls import Call
from connectors.exchange.client import exchange_of
from events.errors import InputError
from events.frames import Array
from events.rows import FUNDING
from events.schema import NEVER
from events.times import DAY_NS, HOUR_NS, MINUTE_NS

_MS: Final = 1_000_000


class Settled(NamedTuple):
    """A settlement: its time in ms, the rate, and the mark price of then, NaN where the venue does not tell it."""

    at_ms: int
    rate: float
    mark: float


async def _page(client: Any, symbol: str, since_ms: int | None, limit: int, params: Mapping[str, Any]) -> list[Settled]:
    told = await client.fetch_funding_rate_history(symbol, since_ms, limit, dict(params))
    found = {
        int(row["timestamp"]): Settled(
            int(row["timestamp"]), float(row["fundingRate"]), float(row["info"].get("markPrice") or "nan")
        )
        for row in told
    }
    return [found[at] for at in sorted(found)]


async def _binance(client: Any, symbol: str, since_ms: int, until_ms: int, call: Call) -> list[Settled]:
    """A thousand from a time on."""
    out: list[Settled] = []
    while since_ms < until_ms:
        page = await call(_page, client, symbol, since_ms, 1_000, {"until": until_ms - 1})
        out += page
        if len(page) < 1_000:
            break
        since_ms = page[-1].at_ms + 1
    return out


def _backward(limit: int, end: Callable[[int], Mapping[str, Any]]) -> Callable[..., Awaitable[list[Settled]]]:
    """The newest before a time, so many at a time; `end` says it to the venue."""

    async def ask(client: Any, symbol: str, since_ms: int, until_ms: int, call: Call) -> list[Settled]:
        out: list[Settled] = []
        while since_ms < until_ms:
            page = [
                one for one in await call(_page, client, symbol, None, limit, end(until_ms)) if one.at_ms < until_ms
            ]
            if not page:
                break
            out, until_ms = page + out, page[0].at_ms
        return out

    return ask


_PAGERS: Final[Mapping[str, Callable[..., Awaitable[list[Settled]]]]] = {
    "binance": _binance,
    "okx": _backward(100, lambda until_ms: {"after": str(until_ms)}),
    "bybit": _backward(200, lambda until_ms: {"until": until_ms - 1}),
}


async def funding(
    client: Any, symbol: str, since_ns: int, until_ns: int, call: Call, clock: Callable[[], int] = time.time_ns
) -> Array:
    """The funding rates of a perpetual contract that were settled in `[since_ns, until_ns)`, as FUNDING rows in order of time.

    `interval_h` is the time since the settlement before; where that divides no day (one is missing), it is that of most of them.
    What the venue does not tell is NaN or NEVER. OKX serves about three months.

    Args:
        client: of ccxt, with its markets loaded.
        symbol: the market, in ccxt's spelling.
        since_ns: in ns.
        until_ns: in ns.
        call: makes the calls, and tries them again.
        clock: the time in ns, which stands in the rows as the time when they were received.

    Raises:
        InputError: the market is no perpetual contract, or has settled once only, which tells no interval, or what `call` raises.
    """
    exchange = exchange_of(client)
    if not client.market(symbol)["swap"] or exchange not in _PAGERS:
        raise InputError(
            f"{exchange}:{symbol} has no funding rates: perpetual contracts have, whose symbols are written BASE/QUOTE:QUOTE"
        )
    first_ms, until_ms = -(-since_ns // _MS), -(-until_ns // _MS)
    # a day more, for the settlement before the first one
    found = await _PAGERS[exchange](client, symbol, max(0, first_ms - DAY_NS // _MS), until_ms, call)
    rows = np.zeros(len(found), FUNDING)
    rows["available_at"] = rows["ts_event"] = [one.at_ms * _MS for one in found]
    rows["rate"], rows["mark"] = [one.rate for one in found], [one.mark for one in found]
    rows["index"], rows["ts_next"], rows["ts_recv"] = np.nan, NEVER, clock()
    rows = rows[rows["ts_event"] < until_ns]
    inside = rows["ts_event"] >= since_ns
    if inside.any():
        if len(rows) < 2:
            raise InputError(
                f"{exchange}:{symbol} has settled once only, so that its interval is not known: begin earlier, or try again later"
            )
        rows["interval_h"] = intervals_h(rows["ts_event"])
    rows = rows[inside]
    rows["seq"] = np.arange(len(rows))
    return rows


def intervals_h(times: Array) -> Array:
    """Hours between settlements, of each since the one before it; the first has those of the second.

    >>> (intervals_h(np.array([0, 8, 16, 32, 40, 44, 48]) * HOUR_NS)).tolist()
    [8.0, 8.0, 8.0, 8.0, 8.0, 4.0, 4.0]
    """
    minutes = np.rint(np.diff(times) / MINUTE_NS).astype(np.int64)  # venues settle some milliseconds late
    spacings, counts = np.unique(minutes, return_counts=True)
    most = spacings[np.argmax(counts)]
    whole = (minutes > 0) & (DAY_NS // MINUTE_NS % np.maximum(minutes, 1) == 0)
    each: Array = np.where(whole, minutes, most) * MINUTE_NS / HOUR_NS
    return np.concatenate([each[:1], each])
