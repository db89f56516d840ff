"""Subscriptions to what venues push beside trades: ccxt holds them, and what it parses is taken where it puts it.

They have a client and connections of their own, so that whatever happens to them never touches trades. As with trades, what a
`watch_*` method returns is never used. A subscription that fails is tried again for ever, since trades need none of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ccxt

from connectors.exchange.faults import reason
from connectors.exchange.health import NOT_YET
from connectors.retry import Backoff
from events.feeds import LIQUIDATIONS, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.schema import NEVER
from events.times import SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed

log = logging.getLogger(__name__)
_ROUNDED_NS: Final = SECOND_NS // 2
_REWATCH_S: Final = 0.5  # what comes meanwhile is taken all the same
TICKER_CACHE: Final = "tickers"
QUOTE_CACHE: Final = "bidsasks"
RATE_CACHE: Final = "fundingRates"
LIQUIDATION_CACHE: Final = "liquidations"
MARKS: Final = "mark prices"
INDEXES: Final = "index prices"

Watch = Callable[[Any, Sequence[str], dict[str, Any]], Awaitable[Any]]
"""(client, symbols, params) of a subscription."""


def _by(method: str) -> Watch:
    return lambda client, symbols, params: getattr(client, method)(list(symbols), params=params)


def _by_symbol(method: str) -> Watch:
    return lambda client, symbols, params: getattr(client, method)(symbols[0], params=params)


def _okx_index(client: Any, symbols: Sequence[str], params: dict[str, Any]) -> Awaitable[Any]:
    """Index prices, whose names are those of spot markets, which need not be loaded."""
    names = [symbol.partition(":")[0].replace("/", "-") for symbol in symbols]
    arguments = [{"channel": "index-tickers", "instId": name} for name in names]
    hashes = [f"index-tickers::{name.replace('-', '/')}" for name in names]
    url = client.get_url("index-tickers", "public")
    told: Awaitable[Any] = client.watch_multiple(url, hashes, {"op": "subscribe", "args": arguments}, hashes)
    return told


@dataclass(frozen=True)
class Subscription:
    """One kind of subscription of a venue and market type.

    Attributes:
        streams: what it is for; it is made if one of them is wanted.
        watch: makes it.
        cache: where ccxt puts what it parses.
        alone: whether symbols are subscribed to one by one.
        quiet: whether it pushes only when something happens, so that its silence proves nothing; what pushes all the time over the
            same connection is among the others, and has its streams.
        tells: what it pushes, where one cache of ccxt has several kinds: MARKS or INDEXES.
        params: of the method of ccxt.
    """

    streams: frozenset[str]
    watch: Watch
    cache: str
    alone: bool = False
    quiet: bool = False
    tells: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


def _many(method: str, cache: str, *streams: str, **more: Any) -> Subscription:
    return Subscription(frozenset(streams), _by(method), cache, **more)


_QUOTES: Final = _many("watch_bids_asks", QUOTE_CACHE, TOPS)
_TICKERS: Final = _many("watch_tickers", TICKER_CACHE, TICKERS)
_BINANCE_TICKERS: Final = _many("watch_tickers", TICKER_CACHE, TICKERS, params={"name": "ticker"})  # else short ones
_LIQUIDATIONS: Final = _many("watch_liquidations_for_symbols", LIQUIDATION_CACHE, LIQUIDATIONS, quiet=True)

SUBSCRIPTIONS: Final[Mapping[str, Mapping[str, tuple[Subscription, ...]]]] = {
    "binance": {
        "spot": (_QUOTES, _BINANCE_TICKERS),
        "swap": (
            _QUOTES,
            _many("watch_mark_prices", TICKER_CACHE, TICKERS, RATES, LIQUIDATIONS, tells=MARKS),
            _BINANCE_TICKERS,
            _LIQUIDATIONS,
        ),
    },
    "bybit": {
        "spot": (_QUOTES, _TICKERS),
        "swap": (
            _QUOTES,
            _many("watch_tickers", TICKER_CACHE, TICKERS, RATES, OPEN_INTEREST, LIQUIDATIONS),
            Subscription(
                frozenset({LIQUIDATIONS}), _by_symbol("watch_liquidations"), LIQUIDATION_CACHE, alone=True, quiet=True
            ),
        ),
    },
    "okx": {
        "spot": (_QUOTES, _TICKERS),
        "swap": (
            _QUOTES,
            _TICKERS,
            _many("watch_mark_prices", TICKER_CACHE, TICKERS, RATES, LIQUIDATIONS, tells=MARKS),
            Subscription(frozenset({TICKERS}), _okx_index, TICKER_CACHE, tells=INDEXES),
            _many("watch_funding_rates", RATE_CACHE, RATES, quiet=True),
            _LIQUIDATIONS,
        ),
    },
    # one channel tells both, at each change of the best quotes
    "kraken": {"spot": (_many("watch_bids_asks", TICKER_CACHE, TOPS, TICKERS),)},
    "coinbase": {
        "spot": (Subscription(frozenset({TICKERS}), _by_symbol("watch_ticker"), TICKER_CACHE, alone=True),),
    },
}
"""By venue and market type."""


@dataclass
class Beacon:
    """What shows that a connection pushes.

    Attributes:
        pushed_ns: when it did last.
        stamp_ns: the newest time of the venue in that.
    """

    pushed_ns: int = NEVER
    stamp_ns: int = NEVER

    def push(self, now: int, stamp_ns: int) -> None:
        """Take note of something that came."""
        self.pushed_ns, self.stamp_ns = now, max(self.stamp_ns, stamp_ns)

    @property
    def reached_ns(self) -> int:
        """Up to when it has pushed, in the venue's own time, whose stamps may be of whole seconds.

        >>> Beacon(pushed_ns=61_050_000_000, stamp_ns=61_000_000_000).reached_ns
        61050000000
        """
        return NEVER if self.stamp_ns == NEVER else min(self.pushed_ns, self.stamp_ns + _ROUNDED_NS)


@dataclass
class Channel:
    """A subscription of some symbols of a feed.

    Attributes:
        wanted: the streams that it is there for.
        beacon: of its connection.
        pushed_ns: when it pushed something itself.
        failure: since when and why it is not alive, None while it is.
        lost_ns: up to when it had pushed before it failed, NEVER if it has not.
    """

    feed: Feed
    client: Any
    subscription: Subscription
    symbols: tuple[str, ...]
    wanted: frozenset[str]
    beacon: Beacon
    pushed_ns: int = NEVER
    failure: tuple[int, str] | None = None
    lost_ns: int = NEVER

    @property
    def alive_ns(self) -> int:
        """When it was last seen to be alive; a quiet one is when its connection is."""
        return self.beacon.pushed_ns if self.subscription.quiet else self.pushed_ns

    async def run(self) -> None:
        """Hold the subscription until cancelled."""
        feed, client, backoff, task = self.feed, self.client, Backoff(0.05, 30.0), asyncio.current_task()
        self.failure = (feed.clock.now(), NOT_YET)
        while True:
            try:
                await self.subscription.watch(client, self.symbols, dict(self.subscription.params))
                backoff.reset()
                await asyncio.sleep(_REWATCH_S)
                continue
            except (ccxt.BaseError, OSError) as error:
                failure: BaseException = error
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                failure = error  # ccxt cancels what waits on a connection that it closes
            if self.lost_ns == NEVER:
                self.lost_ns = self.beacon.reached_ns
            what = ", ".join(sorted(self.wanted))
            self.failure = (feed.clock.now(), f"the subscription to {what} was lost: {reason(failure)}"[:200])
            log.info("%s: %s: subscription lost: %r", feed.exchange, what, failure)
            await asyncio.sleep(backoff.next())
