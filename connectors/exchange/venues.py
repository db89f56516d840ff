"""What is particular about each venue: its client in ccxt, how it is subscribed to, what its ids and sides mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from connectors.exchange.taps import (
    Trade,
    TradeReader,
    exact_stamp,
    kraken_symbol,
    milliseconds,
    okx_count,
    opposite_of_maker,
    taker_side,
)

Market = Mapping[str, Any]
"""A market in the unified structure of ccxt."""


@dataclass(frozen=True)
class Venue:
    """A venue.

    Attributes:
        client: its class in ccxt.
        chunk: symbols of one subscription, at most.
        shared: whether all subscriptions of a market type go over one connection.
        params: of each subscription.
        by_symbol: whether symbols have to be subscribed to one by one.
        counts: whether the ids of trades count, so that a missing one is known, and REST serves from any id on.
        each: whether every trade comes with an id of its own; else some are sums.
        stamp, side, named: the time, the taker's side and the symbol of a trade.
        busy: per market type, a symbol that trades all the time and so shows that the connection pushes.
        kinds: what its client calls the market types.
        urls: ccxt's `urls.api` of a server that stands for the venue, by its address without a scheme.
        options: of the client.
        costs: of REST calls that the client prices too low, in units of its rate limit, by path.
    """

    client: str
    chunk: int = 50
    shared: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    by_symbol: bool = False
    counts: bool = True
    each: bool = True
    stamp: Callable[[Trade], int] = milliseconds
    side: Callable[[Trade], int] = taker_side
    named: Callable[[Trade], str] = itemgetter("symbol")
    busy: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=lambda: {"spot": "spot", "swap": "linear"})
    urls: Callable[[str], dict[str, Any]] = lambda address: {}
    options: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def sequenced(self) -> bool:
        """Whether rows have consecutive ids, so that whoever takes them in sees each hole."""
        return self.counts and self.each

    def reader(self, market: Market) -> TradeReader:
        """What reads trades of this market."""
        size = float(market.get("contractSize") or 1.0) if market.get("contract") else 1.0
        summed = None if self.each or not self.counts else okx_count
        return TradeReader(self.stamp, self.side, self.counts, summed, size, bool(market.get("inverse")))


def _binance_urls(address: str) -> dict[str, Any]:
    http, ws = f"http://{address}", f"ws://{address}"
    # ccxt tells spot from futures by "/stream" in the url, and puts /market or /public before a closing "/ws"
    streams = {"spot": f"{ws}/stream/ws", "linear": f"{ws}/fws/ws"}
    return {
        "public": f"{http}/api/v3",
        "fapiPublic": f"{http}/fapi/v1",
        "fapiData": f"{http}/futures/data",
        "ws": streams,
    }


def _bybit_urls(address: str) -> dict[str, Any]:
    streams = {kind: f"ws://{address}/v5/public/{kind}" for kind in ("spot", "linear", "inverse", "option")}
    return {"public": f"http://{address}", "ws": {"public": streams}}


VENUES: Final[Mapping[str, Venue]] = {
    "binance": Venue(
        "binance",
        shared=False,
        params={"name": "aggTrade"},  # the ids that REST serves from
        busy={"spot": "BTC/USDT", "swap": "BTC/USDT:USDT"},
        urls=_binance_urls,
        costs={"aggTrades": 0.8},  # a weight of 4, which ccxt takes for 2
    ),
    "kraken": Venue(
        "kraken",
        params={"snapshot": True},  # the newest 50, which close short holes
        stamp=exact_stamp,
        named=kraken_symbol,  # ccxt gives all trades of a message the symbol of the first
        busy={"spot": "BTC/USD"},
        urls=lambda address: {"public": f"http://{address}", "ws": {"publicV2": f"ws://{address}/v2"}},
    ),
    "okx": Venue(
        "okx",
        each=False,
        kinds={"spot": "spot", "swap": "swap"},
        busy={"spot": "BTC/USDT", "swap": "BTC/USDT:USDT"},
        urls=lambda address: {"rest": f"http://{address}", "ws": f"ws://{address}/ws/v5"},
    ),
    "coinbase": Venue(
        "coinbaseexchange",
        by_symbol=True,  # its watch_trades_for_symbols never returns
        stamp=exact_stamp,
        side=opposite_of_maker,
        busy={"spot": "BTC/USD"},
        urls=lambda address: {"public": f"http://{address}", "ws": f"ws://{address}"},
    ),
    "bybit": Venue(
        "bybit",
        chunk=10,  # arguments of one subscription
        counts=False,
        busy={"spot": "BTC/USDT", "swap": "BTC/USDT:USDT"},
        urls=_bybit_urls,
    ),
}
"""By the name that instruments have before the colon."""


def sequenced(instrument: str) -> bool:
    """Whether the trades of an instrument (`exchange:symbol`) have consecutive ids, so that the intake states their holes.

    >>> sequenced("binance:BTC/USDT"), sequenced("okx:BTC/USDT"), sequenced("bybit:BTC/USDT")
    (True, False, False)
    """
    venue = VENUES.get(instrument.partition(":")[0])
    return venue is not None and venue.sequenced
