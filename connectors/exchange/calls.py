"""REST calls of one exchange: tried again with a growing pause, all of them behind one gate, given up with a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import ccxt

from connectors.exchange.faults import (
    AGAIN,
    NEVER_AGAIN,
    REFUSALS,
    not_served,
    refused,
    retry_after_s,
    unexpected,
    unknown_symbol,
    unreachable,
)
from connectors.retry import Backoff, Breaker
from events.errors import TidewaxError

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed

_T = TypeVar("_T")
_STRANGE = 10
"""So often an answer that ccxt chokes on is taken for a passing fault."""


class Calls:
    """The calls of a feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._breaker = Breaker()
        self._refusals = self._strange = 0
        self._answered = False
        self._began_s: float | None = None

    async def call(self, function: Callable[..., Awaitable[_T]], *given: Any) -> _T:
        """What the function gives, however often it takes.

        Raises:
            InputError: the exchange does not serve us, or does not understand what is asked, or has not answered at all
                since the beginning.
        """
        feed, loop, backoff = self._feed, asyncio.get_running_loop(), Backoff()
        self._began_s = loop.time() if self._began_s is None else self._began_s
        while True:
            await asyncio.sleep(self._breaker.wait_s(loop.time()))
            feed.counts["calls"] += 1
            left_s = None if self._answered else max(0.1, self._began_s + feed.options.contact_s - loop.time())
            try:
                answer = await asyncio.wait_for(function(*given), left_s)
            except (*AGAIN, TimeoutError) as error:
                failure: Exception = error
            except NEVER_AGAIN as error:
                raise unexpected(feed.exchange, error) from None
            except TidewaxError:
                raise
            except Exception as error:  # what ccxt makes of a page that is none of the exchange's
                if unknown_symbol(error):
                    raise unexpected(feed.exchange, error) from None
                failure = error
                self._strange += 1
            else:
                self._answered, self._refusals, self._strange = True, 0, 0
                self._breaker.succeeded()
                return answer
            feed.counts["failed_calls"] += 1
            self._refusals += refused(failure, feed.client.last_status)
            if self._refusals >= REFUSALS:
                raise not_served(feed.exchange) from None
            if self._strange >= _STRANGE:
                raise unexpected(feed.exchange, failure) from None
            if not self._answered and loop.time() - self._began_s >= feed.options.contact_s:
                raise unreachable(feed.exchange, feed.client, feed.options.contact_s, failure) from None
            limited = isinstance(failure, ccxt.DDoSProtection | ccxt.RateLimitExceeded)
            self._breaker.failed(loop.time(), retry_after_s(feed.client) if limited else 0.0)
            await asyncio.sleep(backoff.next())
