"""Open interest: whether a move of the price opened positions or closed them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from events.feeds import OPEN_INTEREST
from events.frames import Array
from events.rows import OPEN_INTEREST_ROW
from events.times import SECOND_NS
from operators.latest import Input
from operators.maths import kernel, squash
from operators.microstructure.part import MicroSettings, Newest, Out
from operators.microstructure.windows import Rolling

INTEREST_TTL_NS: Final = 900 * SECOND_NS
QUADRANT_NS: Final = 300 * SECOND_NS
"""The shortest timeframe on which the quadrant means something, since open interest is polled."""


@kernel
def follow_changes(g: Array, close: Array, interest: Array, before: Array) -> tuple[Array, Array]:
    """(change of open interest, log return of the close) from bar to bar; NaN where the bar before is not the one before in time.

    `before` is (g, close, interest) of the last bar, and is moved on.
    """
    n = len(g)
    change, moved = np.full(n, math.nan), np.full(n, math.nan)
    for i in range(n):
        if float(g[i]) == before[0] + 1.0:
            change[i] = interest[i] - before[2]
            moved[i] = math.log(close[i] / before[1])
        before[0], before[1], before[2] = float(g[i]), close[i], interest[i]
    return change, moved


@kernel
def quadrant(z_interest: Array, z_return: Array, change: Array, moved: Array, unwind: float) -> Array:
    """sign(r) * |sq(z(dO))| * |sq(z(r))| where open interest rose, `unwind` times that where it did not; [-1, 1].

    Source: file 04 section 9.

    >>> one = np.ones(1)
    >>> quadrant(1.5 * one, -2.0 * one, one, -one, 0.0).round(9).tolist()
    [-0.48372573]
    """
    out = np.empty(len(change))
    for i in range(len(change)):
        strength = abs(squash(z_interest[i])) * abs(squash(z_return[i]))
        if change[i] <= 0.0:
            strength *= unwind
        out[i] = strength if moved[i] > 0.0 else 0.0 - strength if moved[i] < 0.0 else 0.0 * strength
    return out


class OpenInterest:
    """Open interest at the close of each bar, and how it goes together with the price.

    oi_base: base units; a sample lives 900 s. oi_change: over the bar, base units; oi_change_z: [-4, 4].
    oi_quadrant, on timeframes from 5m on, else SILENT: see `quadrant`; both z are against the 256 bars before (at least 48).
    Above 0 the price rose on new positions. `order_flow.oi_quadrant` is the same. Source: file 04 section 9.
    """

    columns = ("oi_base", "oi_change", "oi_change_z", "oi_quadrant", "order_flow.oi_quadrant")

    def __init__(self, settings: MicroSettings, timeframe_ns: int) -> None:
        self.newest = Newest(Input(OPEN_INTEREST, OPEN_INTEREST_ROW, INTEREST_TTL_NS))
        self.unwind, self.voted = settings.oi_unwind, timeframe_ns >= QUADRANT_NS
        self.before = np.full(3, np.nan)
        self.change, self.moved = Rolling(256, 48), Rolling(256, 48)

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        found, _ = self.newest.advance(watermark, times, self.newest.taken(rows), control)
        if not len(times):
            return
        interest, close = np.ascontiguousarray(found["oi_base"]), np.ascontiguousarray(bars["close"])
        change, moved = follow_changes(np.ascontiguousarray(bars["g"]), close, interest, self.before)
        out.put("oi_base", interest)
        out.put("oi_change", change)
        z_change, marks = self.change.follow(change)
        out.put("oi_change_z", z_change, marks)
        if self.voted:
            z_moved, also = self.moved.follow(moved)
            status = np.maximum(marks, also)
            u = quadrant(z_change, z_moved, change, moved, self.unwind)
            out.put("oi_quadrant", u, status)
            out.put("order_flow.oi_quadrant", u, status)

    def snapshot(self) -> Any:
        """The newest sample, the last bar, and the windows."""
        held = self.change.snapshot(), self.moved.snapshot()
        return self.newest.snapshot(), tuple(self.before.tolist()), *held

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.newest.restore(snapshot[0])
        self.before = np.array(snapshot[1])
        self.change.restore(snapshot[2])
        self.moved.restore(snapshot[3])
