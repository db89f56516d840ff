"""Closed klines of the time before a live run began, handed out before an instrument's first trade."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from connectors.exchange.anchors import first_at
from connectors.exchange.frames import Together, frames_of
from connectors.exchange.klines import klines
from events.errors import InputError
from events.feeds import FEEDS, PRELOAD
from events.frames import Array, Frame, control
from events.schema import COVERAGE, FOREVER, NEVER
from events.times import SECOND_NS, timeframe_ns

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

log = logging.getLogger(__name__)
_AT_ONCE: Final = 4
_TICK_S: Final = 0.1


class Preload:
    """The preloads of a feed, a few instruments at a time.

    Trades begin where the running minute did, where the venue can tell which was the first, and are held back; then klines are
    asked for up to there, and all is handed out together: the klines, that the stream is complete from there on, and the trades.
    So a crash has either handed out none of it or all that a restart goes on from.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._few = asyncio.Semaphore(_AT_ONCE)

    @property
    def _base_ns(self) -> int:
        assert self._feed.options.preload, "no timeframes"
        return timeframe_ns(self._feed.options.preload[0][0])

    async def run(self, one: Instrument) -> None:
        """Preload an instrument that has just been made, and let its trades go."""
        if not one.may_begin:
            while self._feed.connected_ns == NEVER:
                await asyncio.sleep(_TICK_S)
            await self._begin(one)
        while one.covered_ns == NEVER:
            await asyncio.sleep(_TICK_S)
        async with self._few:
            rows, until = await self._history(one)
        released, one.held = one.held or [], None
        frame = Frame(one.key, PRELOAD, rows, FOREVER, control(COVERAGE, NEVER, one.covered_ns, until), in_order=True)
        ((_, covered),) = frames_of(released[:1])
        self._feed.queue.append((one.key, Together((frame, covered))))
        self._feed.queue.extend(released[1:])

    async def _begin(self, one: Instrument) -> None:
        """Begin with the first trade of the running minute, else with what comes."""
        feed = self._feed
        since = feed.clock.now() // self._base_ns * self._base_ns
        try:
            first = await first_at(feed.client, one.symbol, since, feed.calls.call)
        except InputError as error:
            log.warning("%s: its first minute will be partial: %s", one.key, error)
            first = None
        one.may_begin = True
        if first is not None:
            feed.refill.begin_at(one, first, since)
        feed.refill.start(one, ask=True)

    async def _history(self, one: Instrument) -> tuple[Array, int]:
        """(klines of all timeframes, in order of their closes; where they end)."""
        feed, wanted = self._feed, self._feed.options.preload
        if not wanted:
            return FEEDS[PRELOAD].empty, NEVER
        until = one.covered_ns // self._base_ns * self._base_ns
        settled_ns = until + round(feed.options.settle_s * SECOND_NS)
        while max(feed.clock.now(), one.order.last_ns) < settled_ns:  # REST may be behind
            await asyncio.sleep(_TICK_S)
        parts = [await self._asked(one, name, bars, until) for name, bars in wanted]
        return in_order(parts), until

    async def _asked(self, one: Instrument, timeframe: str, bars: int, until: int) -> Array:
        feed, length_ns = self._feed, timeframe_ns(timeframe)
        since = until - (bars + 1) * length_ns
        try:
            return await klines(feed.client, one.symbol, timeframe, since, until, feed.calls.call, feed.clock.now)
        except InputError as error:
            log.warning("%s: no history of %s is loaded: %s", one.key, timeframe, error)
            return FEEDS[PRELOAD].empty


def in_order(parts: Sequence[Array]) -> Array:
    """Klines of several lengths in the order in which they closed, shorter ones first, numbered.

    >>> one, five = np.zeros(2, FEEDS[PRELOAD].dtype), np.zeros(1, FEEDS[PRELOAD].dtype)
    >>> one["available_at"], one["ts_open"] = (4, 5), (3, 4)
    >>> five["available_at"] = 5
    >>> in_order([five, one])[["seq", "ts_open", "available_at"]].tolist()
    [(0, 3, 4), (1, 4, 5), (2, 0, 5)]
    """
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((-rows["ts_open"], rows["available_at"]))]
    rows["seq"] = np.arange(len(rows))
    rows.flags.writeable = False
    return rows
