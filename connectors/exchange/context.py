"""Fear and greed, a figure that no exchange has: asked for at an address of its own, and told of every instrument of a feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from connectors.exchange.line import Line
from events.errors import InputError
from events.schema import CONTEXT_NAMES
from events.times import HOUR_NS, SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed

log = logging.getLogger(__name__)
_FEAR_GREED: Final = CONTEXT_NAMES.index("fear_greed")
_PUBLISHED_NS: Final = HOUR_NS
"""So long after its time a figure of the past is taken to have been known."""
_WITHIN_S: Final = 20.0


class Figure(NamedTuple):
    """What was said of a time."""

    at_ns: int
    value: float


def figures(told: Any) -> list[Figure]:
    """The figures of an answer, in order of time: a list `data` of objects with `value`, and `timestamp` in seconds.

    >>> figures({"name": "Fear and Greed Index", "data": [{"value": "40", "timestamp": "1551157200"}]})
    [Figure(at_ns=1551157200000000000, value=40.0)]

    Raises:
        ValueError: it is something else.
    """
    try:
        found = sorted(Figure(int(one["timestamp"]) * SECOND_NS, float(one["value"])) for one in told["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"what it answers is not {{data: [{{value, timestamp in seconds}}]}} ({type(error).__name__}: {error}): "
            f"{str(told)[:100]}"
        ) from None
    if not found:
        raise ValueError("its list is empty")
    return found


def opened(within_s: float) -> aiohttp.ClientSession:
    """What to ask with, by proxies of the environment; an answer may take so long."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=within_s), trust_env=True, raise_for_status=True)


async def asked(session: aiohttp.ClientSession, address: str) -> list[Figure]:
    """The figures that are served at an address, in order of time.

    Raises:
        InputError: none are.
    """
    try:
        async with session.get(address) as answer:
            return figures(await answer.json(content_type=None))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
        raise InputError(
            f"{address} (exchange.context) serves no figures of fear and greed: {why or type(error).__name__}"
        ) from None


class Context:
    """Asks for a feed, so that each exchange is served whatever becomes of the others.

    Args:
        feed: whose instruments it is told of; its options say where and how often.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def run(self, lines: Sequence[Line]) -> None:
        """Ask until cancelled; what cannot be had is stated, and asked for again soon."""
        options, first = self._feed.options, True
        async with opened(_WITHIN_S) as session:
            while True:
                wait_s = options.poll_s
                try:
                    found = await asked(session, str(options.context))
                except InputError as error:
                    self._failed(lines, error)
                else:
                    self._tell(lines, found)
                    wait_s = options.context_s
                if first:
                    for line in lines:
                        line.begin()
                first = False
                await asyncio.sleep(wait_s)

    def _tell(self, lines: Sequence[Line], found: Sequence[Figure]) -> None:
        """What is newer than what was told; at the very beginning as of when it was published."""
        now = self._feed.clock.now()
        for line in lines:
            line.failure = None
            past = not line.ready and not line.known
            for figure in found:
                if figure.at_ns > line.newest_ns:
                    published = figure.at_ns + _PUBLISHED_NS
                    available = min(published, now) if past else now
                    seq = line.next_seq(now)
                    line.hand_out((available, figure.at_ns, now, seq, figure.value, _FEAR_GREED, 0), figure.at_ns, now)

    def _failed(self, lines: Sequence[Line], error: InputError) -> None:
        reason = str(error)[:200]
        for line in lines:
            if line.failure is None:
                log.warning("%s: %s: %s", line.one.key, line.stream, reason)
            line.failure = (line.failure[0] if line.failure else self._feed.clock.now(), reason)
