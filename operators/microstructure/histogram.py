"""Quantile histograms by UTC day, and the cascades of liquidations that they tell from an ordinary burst."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import COLD, MISSING, NEVER, SETTLED, WARMING
from events.times import DAY_NS
from operators.maths import kernel

BINS: Final = 512
DAYS: Final = 7
"""Complete days of the reference."""
SLOTS: Final = DAYS + 1
FEW: Final = 1000
"""Values of the running day that stand in for a complete one."""
ON, OFF = 0.995, 0.95
"""Quantiles above which a cascade begins, and below which it ends."""
ONE_SIDED: Final = 0.8
UNWOUND: Final = -2.0
"""z of the change of open interest, where it is known, below which positions were closed."""


@kernel
def bin_of(x: float) -> int:
    """The bin of a value: floor(8 log2(x)), 0 below 1. Source: file 00 section 9.

    >>> [bin_of(x) for x in (0.5, 3.0, 8.0, 89.0)]
    [0, 12, 24, 51]
    """
    if x < 1.0:
        return 0
    return min(math.floor(8.0 * math.log2(x)), BINS - 1)


@kernel
def quantile(counts: Array, q: float) -> float:
    """The upper edge of the first bin up to which at least a share q of the values lie; NaN without values.

    >>> counts = np.zeros(512, np.int64)
    >>> for x in (3.0, 5.0, 8.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0):
    ...     counts[bin_of(x)] += 1
    >>> round(quantile(counts, 0.9), 9)
    90.509667992
    """
    n = 0
    for k in range(len(counts)):
        n += counts[k]
    need, seen = math.ceil(q * n), 0
    for k in range(len(counts)):
        seen += counts[k]
        if n > 0 and seen >= need:
            edge: float = 2.0 ** ((k + 1) / 8.0)
            return edge
    return math.nan


@kernel
def follow_cascades(
    ts_open: Array, hidden: Array, longs: Array, shorts: Array, z_interest: Array, first_ns: int, days: Array,
    counts: Array, state: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """(flag, complete days of its reference) per bar; -1 days: the running day stands in, -2: nothing does.

    Bars without liquidations enter no histogram; a hidden bar decides nothing, and enters none.
    """
    n = len(ts_open)
    flag, behind = np.full(n, math.nan), np.full(n, -2)
    for i in range(n):
        day = ts_open[i] // DAY_NS
        slot = day % SLOTS
        if days[slot] != day:
            days[slot] = day
            counts[slot, :] = 0
        reference, complete, held = np.zeros(BINS, np.int64), 0, 0
        for d in range(max(day - DAYS, -(-first_ns // DAY_NS)), day):
            complete += 1
            if days[d % SLOTS] == d:
                reference += counts[d % SLOTS]
        for k in range(BINS):
            held += counts[slot, k]
        if complete > 0:
            behind[i] = complete
        elif held >= FEW:
            reference += counts[slot]
            behind[i] = -1
        if hidden[i]:
            continue
        value = longs[i] + shorts[i]
        upper, lower = quantile(reference, ON), quantile(reference, OFF)
        if math.isfinite(upper):
            unwound = not math.isfinite(z_interest[i]) or z_interest[i] < UNWOUND
            if value > upper and max(longs[i], shorts[i]) > ONE_SIDED * value and unwound:
                state[0] = 1.0
            elif value < lower:
                state[0] = 0.0
            flag[i] = state[0]
        if value > 0.0:
            counts[slot, bin_of(value)] += 1
    return flag, behind


class Cascades:
    """liq_cascade: 1 from when the liquidations of 5 bars exceed the 99.5 % quantile of 7 complete days, more than 80 % of them of
    one side and open interest, where known, falling by more than 2 standard deviations, until they are below the 95 % quantile;
    else 0.

    Before there is a complete day, at least 1000 bars of the running one stand in for it; warming until there are 7.
    Source: file 04 section 9, file 00 section 9.
    """

    def __init__(self) -> None:
        self.days, self.counts = np.full(SLOTS, NEVER), np.zeros((SLOTS, BINS), np.int64)
        self.state = np.zeros(1)

    def follow(
        self, ts_open: Array, hidden: Array, longs: Array, shorts: Array, z_interest: Array, first_ns: int
    ) -> tuple[Array, Array]:
        """(flags, statuses) of the next bars.

        Args:
            ts_open: of the bars.
            hidden: whether a void hides their liquidations.
            longs: quote value of 5 bars, of longs.
            shorts: of shorts.
            z_interest: z of the change of open interest, NaN where it is not known.
            first_ns: when the first bar ever began.
        """
        given = ts_open, hidden, longs, shorts, z_interest, first_ns
        flag, behind = follow_cascades(*given, self.days, self.counts, self.state)
        ready = np.where(behind == DAYS, SETTLED, WARMING)
        return flag, np.where(
            hidden, MISSING, np.where(np.isfinite(flag), ready, np.where(behind == -2, COLD, MISSING))
        )

    def snapshot(self) -> Any:
        """The counts, as (place, count) where there are any."""
        flat = self.counts.reshape(-1)
        places = np.flatnonzero(flat)
        return tuple(self.days.tolist()), places.tobytes(), flat[places].tobytes(), float(self.state[0])

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        days, places, counts, on = snapshot
        self.days, self.state = np.array(days, np.int64), np.array([on])
        self.counts.reshape(-1)[np.frombuffer(places, np.int64)] = np.frombuffer(counts, np.int64)
