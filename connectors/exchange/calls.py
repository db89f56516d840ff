"""REST calls of one exchange: tried again with a growing pause, all of them behind one gate, given up with a sentence."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
    from connectors.exchange.options import Options

_T = TypeVar("_T")
_STRANGE = 10
"""So often an answer that ccxt chokes on is taken for a passing fault."""

Call = Callable[..., Awaitable[Any]]
"""Awaits a function with what it is given, as often as it takes: `Calls.call`; `once` where a failure shall be one."""


async def once(function: Callable[..., Awaitable[_T]], *given: Any) -> _T:
    """What the function gives."""
    return await function(*given)


class Caller(Protocol):
    """Who asks an exchange: a feed, or one who only wants to know about the past."""

    exchange: str
    client: Any
    options: Options
    counts: dict[str, int]


class Calls:
    """The calls of a feed, or of another one who asks.

    Args:
        feed: who asks.
        answered: whether the exchange has answered before, so that it is there, however long an answer takes.
    """

    def __init__(self, feed: Caller, answered: bool = False) -> None:
        self._feed = feed
        self._breaker = Breaker()
        self._refusals = self._strange = 0
        self._answered = answered
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
            await asyncio.sleep(min(self._breaker.wait_s(loop.time()), self._left_s()))
            feed.counts["calls"] += 1
            try:
                answer = await asyncio.wait_for(function(*given), None if self._answered else max(0.1, self._left_s()))
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
            if not self._left_s():
                raise unreachable(feed.exchange, feed.client, feed.options.contact_s, failure) from None
            limited = isinstance(failure, ccxt.DDoSProtection | ccxt.RateLimitExceeded)
            self._breaker.failed(loop.time(), retry_after_s(feed.client) if limited else 0.0)
            await asyncio.sleep(min(backoff.next(), self._left_s()))

    def _left_s(self) -> float:
        """Seconds in which an exchange that has not answered at all may still do so; infinite once it has."""
        if self._answered or self._began_s is None:
            return math.inf
        return max(0.0, self._began_s + self._feed.options.contact_s - asyncio.get_running_loop().time())
