"""What the stream did not push, asked of REST: at the beginning, after each connection, where an id is missing, and to audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from connectors.exchange.frames import Said
from connectors.exchange.heartbeats import MARGIN_NS
from connectors.exchange.pagers import PAGERS, Asked, Page
from connectors.exchange.sequencer import AVAILABLE_AT, Arrival, Fill, Hole
from connectors.retry import Backoff
from events.frames import control
from events.schema import COVERAGE, NEVER
from events.times import SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

_SUBSCRIBED_S = 0.2  # after a connection, until the stream is likely to push


class Refill:
    """The refills of a feed: one task at most for each instrument.

    Attributes:
        spawn: makes a task of the feed.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._page = PAGERS[feed.exchange]
        self.spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = asyncio.ensure_future

    def start(self, one: Instrument, ask: bool = False) -> None:
        """Refill an instrument; with `ask`, REST is asked even where nothing is known to be missing."""
        one.ask |= ask
        if one.task is None:
            work = self._refill(one)
            try:
                one.task = self.spawn(work)
            except RuntimeError:  # the feed is ending
                work.close()

    async def audits(self) -> None:
        """Ask for the trades after the last one of each instrument that has been quiet past a point of the grid, one by one."""
        feed = self._feed
        grid_ns = round(feed.options.grid_s * SECOND_NS)
        while True:
            await asyncio.sleep(min(0.2, feed.options.grid_s / 5))
            for one in feed.instruments.values():
                settled = (
                    feed.connected_ns != NEVER
                    and feed.clock.now() - MARGIN_NS - feed.connected_ns > feed.options.settle_s * SECOND_NS
                )
                if settled and one.task is None and self._due(one, grid_ns):
                    await self._audit(one)

    def _due(self, one: Instrument, grid_ns: int) -> bool:
        """Whether an audit would prove a heartbeat, or show that a silent connection is mute."""
        feed = self._feed
        boundary = (feed.reached_ns(one) - MARGIN_NS) // grid_ns * grid_ns
        if feed.venue.counts and max(one.watermark_ns, one.audited_ns - MARGIN_NS) < boundary:
            return True
        boundary = (feed.clock.now() - MARGIN_NS) // grid_ns * grid_ns
        unasked = one.asked_ns - MARGIN_NS < boundary
        return unasked and (not feed.venue.counts or (feed.silent(one) and one.watermark_ns < boundary))

    async def _audit(self, one: Instrument) -> None:
        filled = one.order.filled
        self.start(one, ask=True)
        if one.task is not None:
            await asyncio.wait({one.task})
        if one.order.filled > filled:
            self._feed.suspect(one)
        else:
            one.quiet_ns = one.asked_ns

    async def _refill(self, one: Instrument) -> None:
        try:
            await self._until_complete(one)
        finally:
            one.task = None

    async def _until_complete(self, one: Instrument) -> None:
        feed, order, backoff, rare = self._feed, one.order, Backoff(0.1, 2.0), Backoff(0.2, 30.0)
        if one.ask:
            await asyncio.sleep(_SUBSCRIBED_S)
        while True:
            while not feed.room(one, 2):
                await asyncio.sleep(0.02)
            if order.next_id is None:
                if not one.may_begin:
                    return
                newest = (await self._ask(one, None)).rows
                if newest and order.next_id is None:
                    self._begin_after(one, newest[-1])
                elif not newest:  # it has never traded
                    await asyncio.sleep(rare.next())
                continue
            order.settle()
            if not order.missing and not one.ask:
                return
            one.ask = False
            asked_ns, pushed_ns = feed.clock.now(), feed.reached_ns(one)
            anchor = (order.next_id or 0) - 1
            page = await self._ask(one, anchor)
            if not page.rows and feed.venue.counts:
                newest = (await self._ask(one, None)).rows
                if (
                    newest and newest[-1].last <= anchor
                ):  # nothing follows, or REST is behind, or its ids have begun anew
                    page = Page(newest, False)
            outcome = order.fill(anchor, page.rows, page.full)
            if outcome is Fill.DONE:
                one.asked_ns = asked_ns
                if asked_ns - feed.connected_ns >= feed.options.settle_s * SECOND_NS:
                    one.audited_ns = pushed_ns
            elif outcome is Fill.MORE:
                one.ask = True
                backoff.reset()
            else:
                one.ask = True
                await asyncio.sleep(backoff.next())

    def begin_with(self, one: Instrument, first: Arrival) -> None:
        """Begin with a trade that was pushed, if its id tells what comes next: the stream is complete from it on."""
        if self._feed.venue.counts and one.left is None:
            self._covered(one, first.row[AVAILABLE_AT], first.first, first.first - 1)
            one.order.resume(first.first, first.row[AVAILABLE_AT])

    def begin_at(self, one: Instrument, first: int, since: int) -> None:
        """Begin with a trade of this id, the first one at or after a time: the stream is complete from that time on."""
        self._covered(one, since - 1, first, first - 1)
        one.order.resume(first, since - 1)

    def _begin_after(self, one: Instrument, newest: Arrival) -> None:
        """Begin after the newest trade, which is not handed out: the stream is complete from behind it."""
        at = newest.row[AVAILABLE_AT]
        if one.left is not None:
            ids = (one.left.next_id, newest.last) if self._feed.venue.counts else ()
            self._feed.hole(one, Hole(one.left.last_ns, at, *ids))
        first = newest.last + 1 if self._feed.venue.counts else 0
        self._covered(one, at, first, newest.last)
        one.order.start_after(newest)
        one.ask = True

    def _covered(self, one: Instrument, at: int, id_from: int, id_to: int) -> None:
        """Say that the stream is complete behind `at`; of that very time trades with lower ids may be missing."""
        said = control(COVERAGE, at + 1, at + 1, id_from=id_from, id_to=id_to)
        one.covered_ns = at + 1
        self._feed.put(one, Said(control=said))

    async def _ask(self, one: Instrument, anchor: int | None) -> Page:
        feed = self._feed
        asked = Asked(feed.client, one.symbol, one.read, anchor, one.order.last_ns, feed.clock.now())
        return await feed.calls.call(self._page, asked)
