"""The state of a feed and of its instruments, as ComponentStatus rows with the source clock; they move no watermark."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from events.feeds import BOOKS, CONTEXT, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS
from events.frames import Frame
from events.records import ALL, ComponentStatus, State
from events.schema import NEVER
from events.times import SECOND_NS, iso

if TYPE_CHECKING:
    from connectors.exchange.beside import Beside
    from connectors.exchange.books import Books
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

COMPONENTS: Final = ComponentStatus.stream
NOT_YET: Final = "it is not connected yet"
NATURAL_S: Final = {
    BOOKS: 10.0,
    TOPS: 10.0,
    TICKERS: 60.0,
    OPEN_INTEREST: 300.0,
    LONG_SHORT: 300.0,
    CONTEXT: 86_400.0,
}
"""Seconds in which something new of a stream should come. Source: file 01 section 4."""
UNPROVEN: Final = 3
"""After so many audits that should have come, what is known of an instrument is old."""


class Health:
    """Looks after one feed from the thread that hands out its trades, so that it goes on when the feed has ended.

    Args:
        feed: the feed.
        clock_s: seconds that only grow.

    Attributes:
        state, reason: of the feed; a sentence where the state is not a good one.
        degraded: the instruments of which too little is known although the feed is up.
    """

    def __init__(self, feed: Feed, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._feed, self._clock_s, self._began_s = feed, clock_s, clock_s()
        self.component = f"exchange.{feed.exchange}"
        self.state: State = "stopped"
        self.reason: str | None = None
        self.degraded: set[str] = set()
        self._told_ns = NEVER

    def look(self, now_ns: int) -> list[tuple[str, Frame]]:
        """The rows of what has changed since the last look."""
        state, reason = self._judge(now_ns)
        return self._become(state, reason, now_ns) + self._instruments(now_ns)

    def stop(self, now_ns: int) -> list[tuple[str, Frame]]:
        """The row that says that it is stopped."""
        return self._become("stopped", None, now_ns)

    def _judge(self, now_ns: int) -> tuple[State, str | None]:
        feed = self._feed
        if feed.error is not None:
            return "down", str(feed.error) or repr(feed.error)
        failures = feed.failures()
        if not failures and feed.connected_ns != NEVER:
            return "up", None
        reason = max(failures)[1] if failures else NOT_YET
        silent_s = self._clock_s() - self._began_s  # the venue's clock is not known at the beginning
        if feed.pushed_ns != NEVER:
            silent_s = min(silent_s, (now_ns - feed.pushed_ns) / SECOND_NS)
        if silent_s > feed.options.down_after_s:
            return "down", f"nothing was pushed for {feed.options.down_after_s:g} s: {reason}"
        return ("starting" if self.state in ("stopped", "starting") else "degraded"), reason

    def _become(self, state: State, reason: str | None, now_ns: int) -> list[tuple[str, Frame]]:
        if state == self.state:
            self.reason = reason
            return []
        old, self.state, self.reason = self.state, state, reason
        return [self._row(ALL, old, state, reason, self._feed.counts, now_ns)]

    def _instruments(self, now_ns: int) -> list[tuple[str, Frame]]:
        """Those of which too little is known, while the feed is up; whether it is, is not theirs to say."""
        if self.state != "up":
            return []
        out, feed = [], self._feed
        oldest_ns = now_ns - round(UNPROVEN * feed.options.grid_s * SECOND_NS)
        for one in list(feed.instruments.values()):
            known_ns = max(one.watermark_ns, feed.connected_ns)
            if one.order.next_id is None or (known_ns < oldest_ns) == (one.key in self.degraded):
                continue
            if known_ns < oldest_ns:
                self.degraded.add(one.key)
                reason = f"its trades are known up to {iso(one.watermark_ns)} only"
                out.append(self._row(one.key, "up", "degraded", reason, counts_of(one), now_ns))
            else:
                self.degraded.discard(one.key)
                out.append(self._row(one.key, "degraded", "up", None, counts_of(one), now_ns))
        return out

    def _row(
        self, key: str, old: State, new: State, reason: str | None, counters: Mapping[str, int], now_ns: int
    ) -> tuple[str, Frame]:
        self._told_ns = max(now_ns, self._told_ns + 1)  # ids are made of the time
        return _said(self.component, key, old, new, reason, counters, self._told_ns)


class Part(Protocol):
    """One stream of one instrument, as a feed knows it."""

    one: Instrument
    received_ns: int

    @property
    def stream(self) -> str:
        """The name of the stream."""
        ...

    @property
    def known(self) -> bool:
        """Whether anything of it may be used yet."""
        ...


class StreamHealth:
    """Looks after one stream beside trades of a feed. It is never down by itself: what hangs on it goes on without it.

    Args:
        feed: the feed.
        stream: its name.

    Attributes:
        exchange, stream: their names.
        state, reason: of the stream at that exchange; a sentence where the state is not a good one.
    """

    def __init__(self, feed: Feed, stream: str) -> None:
        self._feed, self.exchange, self.stream = feed, feed.exchange, stream
        self.component = f"exchange.{feed.exchange}.{stream}"
        self.state: State = "stopped"
        self.reason: str | None = None
        self._told_ns = NEVER

    def look(self, now_ns: int) -> list[tuple[str, Frame]]:
        """The row of what has changed since the last look."""
        state, reason = self._judge(now_ns)
        return self._become(state, reason, now_ns)

    def stop(self, now_ns: int) -> list[tuple[str, Frame]]:
        """The row that says that it is stopped."""
        return self._become("stopped", None, now_ns)

    def _judge(self, now_ns: int) -> tuple[State, str | None]:
        feed = self._feed
        if feed.error is not None:
            return "down", str(feed.error) or repr(feed.error)
        told = self._told
        lines = told.of(self.stream)
        if not lines:
            return "starting", NOT_YET
        failures = list(told.failures(self.stream))
        stale = [line for line in lines if _stale(line, now_ns)]
        if failures:
            reason = max(failures)[1]
        elif stale:
            reason = f"{stale[0].one.key} had nothing newer since {iso(stale[0].received_ns)}"
        elif self.state in ("stopped", "starting") and not any(line.known for line in lines):
            return "starting", NOT_YET
        else:
            return "up", None
        return ("starting" if self.state in ("stopped", "starting") and NOT_YET in reason else "degraded"), reason

    def _become(self, state: State, reason: str | None, now_ns: int) -> list[tuple[str, Frame]]:
        self.reason = reason
        if state == self.state:
            return []
        old, self.state, self._told_ns = self.state, state, max(now_ns, self._told_ns + 1)
        return [_said(self.component, ALL, old, state, reason, self._told.counters(self.stream), self._told_ns)]

    @property
    def _told(self) -> Beside | Books:
        return self._feed.books if self.stream == BOOKS else self._feed.beside


def _stale(line: Part, now_ns: int) -> bool:
    """Whether nothing came for three natural periods of its stream; one that has none may be quiet for ever."""
    period_s = NATURAL_S.get(line.stream)
    return period_s is not None and NEVER < line.received_ns < now_ns - round(3 * period_s * SECOND_NS)


def _said(
    component: str, key: str, old: State, new: State, reason: str | None, counters: Mapping[str, int], ts: int
) -> tuple[str, Frame]:
    status = ComponentStatus(
        key=key, ts=ts, component=component, old=old, new=new, reason=reason, counters=dict(counters)
    )
    return key, Frame(key, COMPONENTS, (status,), NEVER)


def counts_of(one: Instrument) -> dict[str, int]:
    """What its order has counted."""
    order = one.order
    return {"repeated": order.repeated, "filled": order.filled, "let_go": order.let_go, "holes": order.holes}
