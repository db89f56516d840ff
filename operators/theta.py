"""The threshold of the score, learned from how far it usually goes: one histogram per voting set and UTC day."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.times import DAY_NS
from operators.confluence_kernels import prior_theta
from operators.maths import kernel

PRIOR: Final = 1
QUANTILE: Final = 2
DAYS: Final = 30
LEAST_DAYS: Final = 7
LEAST_ROWS: Final = 5_000
SETS: Final = 8
BINS: Final = 101
TAIL: Final = 0.975


@kernel
def count_magnitudes(m: Array, counts: Array) -> None:
    """Add |m| to a histogram of 101 bins of 0.01; half a point of score each."""
    for i in range(len(m)):
        counts[min(100, math.floor(100.0 * abs(m[i])))] += 1


@kernel
def upper_edge(counts: Array, tail: float) -> tuple[int, float]:
    """(rows counted, upper edge in points of the first bin that `tail` of them do not exceed)."""
    n, cumulated, edge = 0, 0, 0.0
    for k in range(len(counts)):
        n += counts[k]
    for k in range(len(counts)):
        cumulated += counts[k]
        if cumulated >= math.ceil(tail * n):
            edge = (k + 1) / 2.0
            break
    return n, edge


class _Set:
    """What one voting set has done: rows by day, the time of its last one, its threshold today."""

    def __init__(self) -> None:
        self.days: dict[int, Array] = {}
        self.last_ns = 0
        self.today, self.theta, self.source = -1, 0.0, PRIOR


class ThetaMemory:
    """Thresholds of one instrument.

    theta(A, day) is the upper edge of the bin at the 97.5 % quantile of 50|m| over the complete days among the 30 before,
    within [10, 50]; used when at least 7 of them are complete and the set has 5,000 rows in them, else the prior of the
    set. It changes only with the first row of a UTC day. A day is complete if the stream was covered from its 00:00 on, which
    base bars say by their PARTIAL flag. Source: file 05 section 4.

    Args:
        weight: of the dimensions, bit d of a mask standing for the d-th.
        base: P of the prior, in points.
    """

    def __init__(self, weight: Array, base: float) -> None:
        self.weight, self.base = weight, base
        self.sets: dict[int, _Set] = {}
        self.covered_ns: int | None = None  # since when the base bars are whole

    def cover(self, ts_open: int) -> None:
        """Say that base bars are whole from here on."""
        if self.covered_ns is None:
            self.covered_ns = ts_open

    def apply(self, times: Array, m: Array, mask: Array) -> tuple[Array, Array]:
        """(theta, source) per row; the rows then count for days to come."""
        theta, source = np.empty(len(times)), np.empty(len(times), np.uint8)
        for first, end in _runs(times // DAY_NS, mask):
            rows, voted, day = slice(first, end), int(mask[first]), int(times[first]) // DAY_NS
            known = self._set(voted)
            if known.today != day:
                known.today = day
                known.days = {d: counts for d, counts in known.days.items() if d >= day - DAYS}
                known.theta, known.source = self._threshold(known, voted, day)
            theta[rows], source[rows] = known.theta, known.source
            known.last_ns = int(times[end - 1])
            if voted:
                if day not in known.days:
                    known.days[day] = np.zeros(BINS, np.uint16)
                count_magnitudes(m[rows], known.days[day])
        return theta, source

    def _set(self, voted: int) -> _Set:
        if voted not in self.sets:
            if len(self.sets) >= SETS:
                del self.sets[min(self.sets, key=lambda mask: (self.sets[mask].last_ns, mask))]
            self.sets[voted] = _Set()
        return self.sets[voted]

    def _threshold(self, known: _Set, voted: int, day: int) -> tuple[float, int]:
        first = day if self.covered_ns is None else -(-self.covered_ns // DAY_NS)
        complete = range(max(first, day - DAYS), day)
        counts = np.zeros(BINS, np.int64)
        for d in complete:
            if d in known.days:
                counts += known.days[d]
        n, edge = upper_edge(counts, TAIL)
        if len(complete) >= LEAST_DAYS and n >= LEAST_ROWS:
            return min(max(edge, 10.0), 50.0), QUANTILE
        return prior_theta(self.weight, voted, self.base), PRIOR

    def snapshot(self) -> Any:
        """The histograms and today's thresholds."""
        sets = {
            mask: (
                tuple((day, counts.tobytes()) for day, counts in s.days.items()),
                s.last_ns,
                s.today,
                s.theta,
                s.source,
            )
            for mask, s in self.sets.items()
        }
        return self.covered_ns, sets

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.covered_ns, sets = snapshot
        self.sets = {}
        for mask, (days, last_ns, today, theta, source) in sets.items():
            known = self.sets[mask] = _Set()
            known.days = {day: np.frombuffer(counts, np.uint16).copy() for day, counts in days}
            known.last_ns, known.today, known.theta, known.source = last_ns, today, theta, source


def _runs(days: Array, mask: Array) -> Iterator[tuple[int, int]]:
    """(first, end) of the runs of rows of one day and one voting set."""
    cuts = np.flatnonzero((days[1:] != days[:-1]) | (mask[1:] != mask[:-1])) + 1
    edges = [0, *cuts.tolist(), len(days)]
    yield from ((a, b) for a, b in pairwise(edges) if b > a)
