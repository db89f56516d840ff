"""Whether instruments are told of each other while the market goes on, as ComponentStatus rows with the clock of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from connectors.kafka.health import Component
from connectors.kafka.source import Items
from events.feeds import DRIVING
from events.schema import END, LEAVE, NEVER
from events.times import SECOND_NS

AFTER_S: Final = 150.0
"""So long nothing has to come of what comes every minute, before that is said."""
_LOOK_S: Final = 1.0
_WHY: Final = (
    "nothing has come from flows.market for {:.0f} s, and scores and signals wait for it; none of them is lost"
)


class Waiting:
    """What batches of frames pass on their way into the graph of a shard: it adds a row of the component `market` when instruments
    wait for what `flows.market` tells them, and when they do no longer. Nothing is void for that: a run that waited is, row for
    row, one that did not.

    Args:
        told: the names of the streams that are waited for.
        after_s: how long.
        clock_s: seconds that only grow.
        clock_ns: the time, in ns since 1970.
    """

    def __init__(
        self,
        told: Collection[str],
        after_s: float = AFTER_S,
        clock_s: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._names, self._after_s, self._clock_s = frozenset(told), after_s, clock_s
        self._component = Component("market", clock_ns)
        self._told: dict[str, int] = {}  # by instrument, up to when all that it was told is here
        self._reached: dict[str, int] = {}  # and its market
        self._heard_s = self._looked_s = clock_s()

    def __call__(self, items: Items) -> Items:
        """The frames, and what has changed."""
        for instrument, frame in items:
            if frame.name in self._names:
                if frame.watermark > self._told.get(instrument, NEVER):
                    self._told[instrument], self._heard_s = frame.watermark, self._clock_s()
            elif frame.name in DRIVING:
                over = len(frame.control) > 0 and bool({END, LEAVE} & set(frame.control["kind"].tolist()))
                newest = int(frame.rows["available_at"][-1]) if len(frame.rows) else NEVER
                if over:
                    self._reached.pop(instrument, None)
                else:
                    self._reached[instrument] = max(self._reached.get(instrument, NEVER), frame.watermark, newest)
        now_s = self._clock_s()
        if now_s - self._looked_s < _LOOK_S:
            return items
        self._looked_s = now_s
        silent_s = now_s - self._heard_s
        if silent_s <= self._after_s or not any(map(self._waits, self._reached)):
            return items + self._component.become("up")
        return items + self._component.become("degraded", _WHY.format(silent_s))

    def _waits(self, instrument: str) -> bool:
        return self._reached[instrument] - self._told.get(instrument, 0) > self._after_s * SECOND_NS
