"""How the feeds of exchanges behave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_CLOCK_S: Final = 60.0


@dataclass(frozen=True)
class Options:
    """How feeds behave; in seconds and numbers of trades.

    Attributes:
        queue: trades that wait to be handed out before the stream is let go, to be refilled over REST later.
        waiting: trades of one instrument that wait for a missing one.
        stale_s: a connection without any message for so long is dead.
        mute_s: a connection that pushes no trades for so long while REST has some is mute.
        grid_s: heartbeats are multiples of it, and a quiet instrument is audited once in it.
        settle_s: an audit so soon after a connection proves nothing, since REST may be behind.
        contact_s: an exchange that has not answered at all for so long at the start is unreachable.
        refill_s: an absence longer than this is not refilled but stated as a hole.
        keep_alive_s: how often connections are pinged.
        clock_s: how far this machine's clock may be off; None for a minute, and for as far as it likes from that of a server that
            stands for an exchange, whose time may be its own.
        preload: (timeframe, bars), the base first, of the klines that come before an instrument's first trade; empty for a
            preload that says that there are none, None for no preload.
        beside: the streams beside trades, names of `events.feeds.BESIDE`, CHECKS and CONTEXT; an instrument has those that it is
            offered.
        book_rows: rows of books that wait to be handed out before updates are dropped.
        poll_s: how often REST is asked for samples that the venue does not push.
        reconcile_s: how often it is asked for the closed klines that bars are held against.
        context: address of figures of fear and greed.
        context_s: how often it is asked.
        void_after_s: so long after a boundary joins are told to do without an instrument of which nothing is known up to it.
        down_after_s: a feed that should push and has not for so long is down.
    """

    queue: int = 50_000
    waiting: int = 20_000
    stale_s: float = 30.0
    mute_s: float = 5.0
    grid_s: float = 60.0
    settle_s: float = 5.0
    contact_s: float = 12.0
    refill_s: float = 6 * 3600.0
    keep_alive_s: float = 15.0
    clock_s: float | None = None
    void_after_s: float = 2.0
    down_after_s: float = 60.0
    preload: tuple[tuple[str, int], ...] | None = None
    beside: tuple[str, ...] = ()
    book_rows: int = 500_000
    poll_s: float = 60.0
    reconcile_s: float = 300.0
    context: str | None = None
    context_s: float = 3600.0

    def clock_limit_s(self, address: str | None) -> float:
        """How far the clock may be off at the exchange, or at the server at `address` that stands for it.

        >>> Options().clock_limit_s(None), Options().clock_limit_s("127.0.0.1:9000"), Options(clock_s=5.0).clock_limit_s("b:1")
        (60.0, inf, 5.0)
        """
        if self.clock_s is not None:
            return self.clock_s
        return _CLOCK_S if address is None else math.inf
