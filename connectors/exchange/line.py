"""One stream beside the trades of one instrument, as a feed hands it out: its rows, and what is promised of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.exchange.frames import Item, Other
from connectors.exchange.instrument import Instrument
from events.feeds import TICKERS, TOPS
from events.schema import NEVER

Row = tuple[Any, ...]
"""A row of the dtype of the stream."""

NEWEST: Final = frozenset({TOPS, TICKERS})
"""Streams of states: of what comes while too much waits only the newest row is kept."""


@dataclass
class Line:
    """A stream of an instrument.

    Attributes:
        one: the instrument.
        stream: its name.
        queue: where its rows wait to be handed out.
        room: how many rows may wait there before only newest states are kept.
        proven: whether its rows stand at the venue's time, so that a promise needs a proof; else they stand at that of their
            receipt, and the source clock is promise enough.
        ready: whether what is known of the past is handed out, before which nothing is promised.
        newest_ns: `ts_event` of the newest row handed out; of funding rates, of those that were settled.
        received_ns: when that was received.
        promised_ns: the newest heartbeat.
        interval_h: of funding rates the hours between settlements.
        failure: since when and why REST does not serve it.
        conflated: rows that a newer state took the place of.
        unread: how much came that could not be read.
    """

    one: Instrument
    stream: str
    queue: deque[Item]
    room: int
    proven: bool
    ready: bool = True
    newest_ns: int = NEVER
    received_ns: int = NEVER
    promised_ns: int = NEVER
    interval_h: float | None = None
    failure: tuple[int, str] | None = None
    conflated: int = 0
    unread: int = 0
    _seq: int = NEVER
    _held: Row | None = None
    _early: list[tuple[Row, int, int]] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether anything of it was promised."""
        return self.promised_ns > NEVER

    def next_seq(self, received_ns: int) -> int:
        """A number above all before, of this process and of one before it."""
        self._seq = max(self._seq + 1, received_ns)
        return self._seq

    def begin(self) -> None:
        """What is known of the past is handed out: so is what was pushed meanwhile."""
        self.ready = True
        for given in self._early:
            self.hand_out(*given)
        self._early.clear()

    def put(self, row: Row, at_ns: int, received_ns: int) -> None:
        """Hand out a row of the time `at_ns` that was pushed, once the past is."""
        if self.ready:
            self.hand_out(row, at_ns, received_ns)
        else:
            self._early.append((row, at_ns, received_ns))

    def hand_out(self, row: Row, at_ns: int, received_ns: int) -> None:
        """Hand out a row of the time `at_ns` now."""
        self.newest_ns, self.received_ns = max(self.newest_ns, at_ns), received_ns
        if self.stream in NEWEST and (self._held is not None or len(self.queue) >= self.room):
            self.conflated += self._held is not None
            self._held = row
        else:
            self.queue.append((self.one.key, Other(self.stream, (row,))))

    def settle(self, at_last: bool = False) -> None:
        """Hand out a state that was kept, once there is room, or `at_last` in any case."""
        if self._held is not None and (at_last or len(self.queue) < self.room):
            self.queue.append((self.one.key, Other(self.stream, (self._held,))))
            self._held = None

    def promise(self, proven_ns: int, grid_ns: int) -> None:
        """Send a heartbeat past the newest boundary of the grid, if that is proven: every row available before it is out.

        Joins at a boundary need a watermark above it, so a promise ends one nanosecond behind.
        """
        if proven_ns == NEVER or not self.ready:
            return
        at = (proven_ns - 1) // grid_ns * grid_ns + 1
        if at > self.promised_ns:
            self.settle(at_last=True)
            self.promised_ns = at
            self.queue.append((self.one.key, Other(self.stream, watermark=at)))


Lines = Mapping[str, Line]
"""The lines of one instrument, by stream."""
