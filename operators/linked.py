"""What a perpetual lends to spot markets: its streams of the crowd, as if they were their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from events.feeds import LENT
from events.frames import NO_ROWS, Frame
from events.schema import END, FOREVER
from operators.broadcast import Fanout, Item, said


def to_perpetuals(links: Mapping[str, str], base: str) -> Callable[[Frame], list[Item]]:
    """A flat map of frames: the lent streams of perpetuals to their own keys; of spot markets, that they are there, and when they
    leave, to the keys of their perpetuals.

    Args:
        links: the perpetual of each spot market.
        base: the stream of their base bars.
    """
    perpetuals = frozenset(links.values())

    def hear(frame: Frame) -> list[Item]:
        if frame.name in LENT and frame.instrument in perpetuals:
            return [(frame.instrument, frame._replace(control=said(frame)))]
        if frame.name == base and frame.instrument in links:
            return [(links[frame.instrument], frame._replace(rows=NO_ROWS, control=said(frame)))]
        return []

    return hear


def without_own(links: Mapping[str, str]) -> Callable[[Frame], list[Item]]:
    """A flat map of frames: all but what spot markets have from their perpetuals.

    >>> given = without_own({"x:A/B": "x:A/B:B"})
    >>> [len(given(Frame(name, "ticker", NO_ROWS, 0))) for name in ("x:A/B", "x:A/B:B")]
    [0, 1]
    """

    def keep(frame: Frame) -> list[Item]:
        return [] if frame.instrument in links and frame.name in LENT else [(frame.instrument, frame)]

    return keep


class Lender:
    """A stage of a perpetual. In: what `to_perpetuals` gives. Out: its streams, each as one of every spot market that has it.

    Args:
        members: the spot markets, by perpetual.
        streams: those of `LENT` that the run has.
        base: the stream of base bars.
    """

    def __init__(self, members: Mapping[str, Iterable[str]], streams: Iterable[str], base: str) -> None:
        self.members, self.streams, self.base = members, tuple(streams), base
        self.fanout: Fanout | None = None
        self.perpetual = ""
        self.out: list[Frame] = []

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        if self.fanout is None:
            lender = (perpetual for perpetual, spots in self.members.items() if frame.instrument in (perpetual, *spots))
            self._begin(next(lender))
        assert self.fanout is not None
        if frame.name == self.base:
            self.out += self.fanout.hear(frame)
        elif len(frame.control) and END in frame.control["kind"]:
            self.out += self.fanout.send(frame.name, frame._replace(watermark=FOREVER))
        else:
            self.out += self.fanout.send(frame.name, frame)

    def _begin(self, perpetual: str) -> None:
        self.perpetual, self.fanout = perpetual, Fanout(self.members[perpetual], self.streams)

    def advance(self) -> list[Frame]:
        """What was to be sent."""
        out, self.out = self.out, []
        return out

    @property
    def left(self) -> bool:
        """False: it is of several instruments, whoever leaves."""
        return False

    def snapshot(self) -> Any:
        """Which perpetual it is, and who takes part."""
        return None if self.fanout is None else (self.perpetual, self.fanout.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        if snapshot is not None:
            self._begin(snapshot[0])
            assert self.fanout is not None
            self.fanout.restore(snapshot[1])
