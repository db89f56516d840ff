"""What a source may promise of a quiet instrument: no more than is proven, by pure functions of times (int64 ns)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from events.schema import NEVER
from events.times import SECOND_NS

MARGIN_NS: Final = SECOND_NS


def proven_until(beacon_ns: int, audit_ns: int | None, margin_ns: int = MARGIN_NS) -> int:
    """Up to when (exclusive) every trade of an instrument is out; NEVER while nothing is proven.

    Args:
        beacon_ns: when the newest trade of any instrument came on its connection, NEVER for none. A pong proves nothing.
        audit_ns: when REST was asked for trades after the last one, and all that it found was handed out, NEVER for not yet;
            None where the venue has no ids to ask by.
        margin_ns: what may be on its way meanwhile.

    >>> s = SECOND_NS
    >>> [proven_until(round(b * s), a if a is None else round(a * s)) / s for b, a in
    ...  ((60.4, 30.0), (61.3, 61.1), (59.2, 61.1), (61.3, None))]
    [29.0, 60.1, 58.2, 60.3]
    """
    proof = beacon_ns if audit_ns is None else min(beacon_ns, audit_ns)
    return NEVER if proof == NEVER else proof - margin_ns


def heartbeat(proven_ns: int, watermark_ns: int, grid_ns: int) -> int | None:
    """The heartbeat to send, None for none: the newest multiple of `grid_ns` that is proven, if the watermark is not there yet.

    >>> heartbeat(125, 59, 60), heartbeat(125, 119, 60), heartbeat(125, 120, 60), heartbeat(NEVER, 0, 60)
    (120, 120, None, None)
    """
    if proven_ns == NEVER:
        return None
    boundary = proven_ns // grid_ns * grid_ns
    return boundary if boundary > watermark_ns else None


class SourceClock:
    """The wall clock plus the offset of the venue's clock, never going back. Only sources and sinks have one.

    Args:
        wall: gives ns since 1970.
        offset_ns: by how much the venue is ahead.
    """

    def __init__(self, wall: Callable[[], int], offset_ns: int = 0) -> None:
        self._wall, self.offset_ns, self._newest = wall, offset_ns, NEVER

    def now(self) -> int:
        """The time, in ns since 1970.

        >>> times = iter((5, 3, 9))
        >>> clock = SourceClock(lambda: next(times), 100)
        >>> clock.now(), clock.now(), clock.now()
        (105, 105, 109)
        """
        self._newest = max(self._newest, self._wall() + self.offset_ns)
        return self._newest
