"""The stage of the key GLOBAL in a run whose instruments join and leave: who counts at a time, `members` say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from events.feeds import GLOBAL, MEMBERS
from events.frames import NO_ROWS, Frame, control
from events.schema import FOREVER, LEAVE, NEVER
from events.times import MINUTE_NS
from operators.market import AVERAGED, BASE, EARLIER, MOST_KEYS, Market, stream_of
from operators.members import Gate, Members
from operators.ordered import Ordered


class OpenMarket:
    """A stage of the key GLOBAL. In: what `to_market` gives, `members` too. Out: "global.1m", and for each member "market.1m", the
    same a nanosecond later.

    One that joins counts from its first bar after that on, with what its preload says of the day before; one that leaves is
    dropped, and joins again as if it had never been there. Members beyond the first 1,000 get the figures and do not count. Until
    they join, frames of instruments are kept.

    Args:
        named, likes: as for `Members`.
        reference, averaged, base_ns: as for `Market`; the reference may join and leave like any other.
    """

    def __init__(
        self,
        named: Iterable[str],
        likes: Iterable[str],
        reference: str | None,
        averaged: bool,
        base_ns: int = MINUTE_NS,
    ) -> None:
        self.given = reference, averaged, base_ns
        self.streams = (BASE, AVERAGED) if averaged else (BASE,)
        self.members, self.gate = Members(named, likes), Gate()
        self.told: dict[str, None] = {}  # all members, in the order in which they joined
        self.sent = NEVER
        self._wait_for((MEMBERS,))

    def _wait_for(self, streams: tuple[str, ...], counted: tuple[str, ...] = ()) -> None:
        self.core = Market(counted, *self.given)
        self.ordered = Ordered(self.core, streams, driven=False)

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        if frame.name == MEMBERS:
            self.members.push(frame)
            return
        name = stream_of(frame.name, frame.instrument)
        for through in self.gate.push(name, frame):
            self._take(name, through)

    def _take(self, name: str, frame: Frame) -> None:
        if name in self.ordered.watermark:
            self.ordered.push(frame._replace(instrument=GLOBAL, name=name))

    def advance(self) -> list[Frame]:
        """The boundaries that are complete, the members taken at each."""
        out: list[Frame] = []
        while True:
            self.ordered.push(Frame(GLOBAL, MEMBERS, NO_ROWS, self.members.certain))
            for frame in self.ordered.advance():
                out += self._send(frame)
            changes = self.members.take(self.ordered.reached)
            if not changes:
                return out
            for ts, instrument, change in changes:
                if (change > 0) == (instrument in self.told):
                    continue  # it is said again
                out += self._join(instrument) if change > 0 else self._leave(instrument, ts)

    def _send(self, frame: Frame) -> list[Frame]:
        rows = frame.rows.copy()
        if len(rows):
            rows["available_at"] += 1
        self.sent = max(self.sent, min(frame.watermark, FOREVER - 1) + 1)
        given = frame._replace(name=EARLIER, rows=rows, watermark=self.sent)
        return [frame, *(given._replace(instrument=instrument) for instrument in self.told)]

    def _join(self, instrument: str) -> list[Frame]:
        self.told[instrument] = None
        counted = self.core.members
        if len(counted) < MOST_KEYS:
            self.core.follow(tuple(sorted((*counted, instrument))))
        for stream in self.streams:
            name = stream_of(stream, instrument)
            if instrument in self.core.members:
                self.ordered.begin(name)
            for frame in self.gate.begin(name):
                self._take(name, frame)
        return [Frame(instrument, EARLIER, NO_ROWS, self.sent)]

    def _leave(self, instrument: str, ts: int) -> list[Frame]:
        del self.told[instrument]
        counted = instrument in self.core.members
        self.core.follow(tuple(name for name in self.core.members if name != instrument))
        for stream in self.streams:
            name = stream_of(stream, instrument)
            self.gate.end(name)
            if counted:
                self.ordered.end(name)
        return [Frame(instrument, EARLIER, NO_ROWS, max(self.sent, ts + 1), control(LEAVE, ts, ts))]

    @property
    def left(self) -> bool:
        """False: it is of all instruments, whoever leaves."""
        return False

    def snapshot(self) -> Any:
        """That of the core, who takes part, and what is kept of those who do not yet."""
        waited = self.ordered.streams, self.core.members, self.ordered.snapshot()
        return waited, self.members.snapshot(), self.gate.snapshot(), tuple(self.told), self.sent

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        (streams, counted, held), members, gate, told, self.sent = snapshot
        self._wait_for(streams, counted)
        self.ordered.restore(held)
        self.members.restore(members)
        self.gate.restore(gate)
        self.told = dict.fromkeys(told)
