"""Pages of klines over REST, one way per venue: what is asked, how its pages go, which column is what.

They are asked of the venue's own endpoints, since ccxt's `fetch_ohlcv` drops the quote volume and the word "closed".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from events.times import HOUR_NS, SECOND_NS

_MS: Final = 1_000_000
_NEWEST_OF_OKX: Final = 1_400
"""So many klines back its endpoint of current ones is sure to reach; older ones have another."""


class Kline(NamedTuple):
    """A kline as a venue tells it; `told` if it says by itself that it is closed."""

    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    told: bool = False


def _kline(ts_open: int, values: Iterable[Any], told: bool = False) -> Kline:
    """A kline of texts or numbers, in the order of its fields."""
    opened, high, low, close, volume, quote_volume = map(float, values)
    return Kline(ts_open, opened, high, low, close, volume, quote_volume, told)


@dataclass(frozen=True)
class Asked:
    """What is asked for: klines that open in `[since_ns, until_ns)`, both multiples of the length.

    Attributes:
        client: of ccxt.
        market: in ccxt's unified structure.
        interval: the venue's name of the timeframe.
        length_ns: of a kline.
        now_ns: the time of the machine that asks.
    """

    client: Any
    market: Mapping[str, Any]
    interval: Any
    length_ns: int
    since_ns: int
    until_ns: int
    now_ns: int

    @property
    def count(self) -> int:
        """How many klines open in the span."""
        return (self.until_ns - self.since_ns) // self.length_ns


async def _binance(asked: Asked) -> list[Kline]:
    """The first ones from a time on; where none were made it goes on with the next one."""
    ask = asked.client.publicGetKlines if asked.market["spot"] else asked.client.fapiPublicGetKlines
    request = {"symbol": asked.market["id"], "interval": asked.interval}
    answer = await ask(request | {"startTime": asked.since_ns // _MS, "limit": max(2, asked.count)})
    return [_kline(int(row[0]) * _MS, (*row[1:6], row[7])) for row in answer]


async def _kraken(asked: Asked) -> list[Kline]:
    """The newest 720 at most, whatever it is asked since; the last one is forming. Quote volume is VWAP, which has the digits of a
    price, times volume.
    """
    since_s = max(0, asked.since_ns - asked.length_ns) // SECOND_NS
    request = {"pair": asked.market["id"], "interval": asked.interval, "since": str(since_s)}
    answer = (await asked.client.publicGetOHLC(request))["result"]
    (listed,) = (rows for name, rows in answer.items() if name != "last")
    return [_kline(int(row[0]) * SECOND_NS, (*row[1:5], row[6], float(row[5]) * float(row[6]))) for row in listed]


async def _okx(asked: Asked) -> list[Kline]:
    """The newest of a span, which stands open at both ends; current ones and older ones have an endpoint each."""
    old = asked.since_ns < asked.now_ns - _NEWEST_OF_OKX * asked.length_ns
    ask = asked.client.publicGetMarketHistoryCandles if old else asked.client.publicGetMarketCandles
    day_starts = "utc" if asked.length_ns >= 6 * HOUR_NS else ""  # else at midnight of Hong Kong
    span = {"before": str(asked.since_ns // _MS - 1), "after": str(asked.until_ns // _MS), "limit": "300"}
    answer = await ask({"instId": asked.market["id"], "bar": asked.interval + day_starts, **span})
    base, quote = (5, 7) if asked.market["spot"] else (6, 7)  # of contracts the first volume counts contracts
    return [_kline(int(row[0]) * _MS, (*row[1:5], row[base], row[quote]), str(row[8]) == "1") for row in answer["data"]]


async def _coinbase(asked: Asked) -> list[Kline]:
    """Those of a span, which it refuses if they might be more than 300; minutes without a trade are left out. No quote volume."""
    client, last_ns = asked.client, asked.until_ns - asked.length_ns
    span = {"start": client.iso8601(asked.since_ns // _MS), "end": client.iso8601(last_ns // _MS)}
    request = {"id": asked.market["id"], "granularity": asked.interval, **span}
    answer = await client.publicGetProductsIdCandles(request)
    return [
        _kline(int(at) * SECOND_NS, (open_, high, low, close, volume, "nan"))
        for at, low, high, open_, close, volume in answer
    ]


async def _bybit(asked: Asked) -> list[Kline]:
    """The newest of a span, both of whose ends belong to it."""
    market = asked.market
    category = "spot" if market["spot"] else "linear" if market["linear"] else "inverse"
    span = {"start": asked.since_ns // _MS, "end": asked.until_ns // _MS - 1, "limit": 1_000}
    request = {"category": category, "symbol": market["id"], "interval": asked.interval, **span}
    answer = await asked.client.publicGetV5MarketKline(request)
    base, quote = (6, 5) if market["inverse"] else (5, 6)
    return [_kline(int(row[0]) * _MS, (*row[1:5], row[base], row[quote])) for row in answer["result"]["list"]]


@dataclass(frozen=True)
class Way:
    """How a venue gives klines.

    Attributes:
        page: asks for some.
        size: of a page, at most; 0 if there are no more pages.
        forward: whether a page begins with the oldest of what is asked for, not with the newest.
        sparse: whether a newest kline may stay the newest for long, since empty ones are left out; then its clock closes it.
    """

    page: Callable[[Asked], Awaitable[list[Kline]]]
    size: int
    forward: bool = False
    sparse: bool = False


WAYS: Final[Mapping[str, Way]] = {
    "binance": Way(_binance, 1_000, forward=True),
    "kraken": Way(_kraken, 0, forward=True),
    "okx": Way(_okx, 300),
    "coinbaseexchange": Way(_coinbase, 300, sparse=True),
    "bybit": Way(_bybit, 1_000),
}
"""By ccxt's name of the venue."""
