"""Windows of what came before: over the bars, over samples as they came, and how fresh a sample still is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from events.frames import Array
from events.schema import COLD, MISSING, SETTLED, VOID, WARMING
from operators.indicators.rolling import moments, percentile_rank, z_score
from operators.maths import clip, kernel

NO_VALUES = np.empty(0)


class Rolling:
    """How each value of a series, one a bar, stands among those of the `window` bars before it.

    A value is cold below `minimum` bars, settled once its window holds only bars whose own values do not depend on when the
    series began (those but the first `memory`), warming between.

    Args:
        window: bars.
        minimum: finite values that it takes.
        memory: how many of the first values depend on when the series began.
        rank: percentile ranks in [0, 1] instead of z scores in [-4, 4]; they take window // 4 values.
    """

    def __init__(self, window: int = 256, minimum: int = 32, memory: int = 1, rank: bool = False) -> None:
        self.window, self.rank = window, rank
        self.minimum = window // 4 if rank else minimum
        self.full = window + memory
        self.tail = NO_VALUES
        self.seen = -1  # bars since the first finite value, capped; -1 before it

    def follow(self, x: Array) -> tuple[Array, Array]:
        """(values, statuses) of the next bars; NaN in x is missing."""
        known, first = np.concatenate([self.tail, x]), len(self.tail)
        if self.rank:
            values = percentile_rank(known, self.window, first)[first:]
        else:
            values = z_score(known, self.window, self.minimum, first)[first:]
        before = self.seen
        if before < 0:
            finite = np.flatnonzero(np.isfinite(x))
            before = -int(finite[0]) if len(finite) else -len(x)
            self.seen = len(x) + before if len(finite) else -1
        else:
            self.seen = min(before + len(x), self.full)
        since = before + np.arange(len(x))
        self.tail = known[-self.window :].copy()
        absent = np.where(np.isfinite(x) & (since < self.minimum), COLD, MISSING)
        ready = np.where(since < self.full, WARMING, SETTLED)
        return values, np.where(np.isnan(values), absent, ready).astype(np.uint8)

    def snapshot(self) -> Any:
        """The window."""
        return self.tail.tobytes(), self.seen

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.tail, self.seen = np.frombuffer(snapshot[0]), snapshot[1]


@kernel
def sample_z(x: Array, end: Array, current: Array, window: int, minimum: int) -> Array:
    """How many standard deviations each current value stands from the mean of the `window` samples before place `end`, in [-4, 4].

    NaN where it is NaN, where there are fewer than `minimum` of them, or where they do not vary. Source: file 00 section 9.

    >>> sample_z(np.arange(1.0, 34.0), np.array([32]), np.array([33.0]), 256, 32).round(12).tolist()
    [1.787050191544]
    """
    out = np.full(len(end), math.nan)
    for i in range(len(end)):
        if not math.isfinite(current[i]):
            continue
        count, mean, variance = moments(x, max(end[i] - window, 0), end[i])
        if count < max(minimum, 1):
            continue
        deviation = math.sqrt(variance)
        if deviation > 1e-12 * max(1.0, abs(mean)):
            out[i] = clip((current[i] - mean) / deviation, -4.0, 4.0)
    return out


class Samples:
    """How a value stands among the `window` samples before it, which count from their `available_at` on, whatever bars there are.

    It is cold below `minimum` samples, warming until the window is full, then settled.
    """

    def __init__(self, window: int, minimum: int) -> None:
        self.window, self.minimum = window, minimum
        self.x = NO_VALUES
        self.at = np.empty(0, np.int64)  # of the newest of them, those that came since the last bar

    def add(self, at: Array, x: Array) -> None:
        """Take samples in, in their order."""
        self.at, self.x = np.concatenate([self.at, at]), np.concatenate([self.x, x])

    def z(self, times: Array, current: Array, own: Array) -> tuple[Array, Array]:
        """(values, statuses) of the current values at these times; where `own`, it is itself the newest sample by then.

        Forgets what no later time needs.
        """
        older = len(self.x) - len(self.at)
        end = older + self.at.searchsorted(times, side="right") - own
        values = sample_z(self.x, end, current, self.window, self.minimum)
        absent = np.where(np.isfinite(current) & (end < self.minimum), COLD, MISSING)
        ready = np.where(end < self.window, WARMING, SETTLED)
        if len(times):
            told = int(self.at.searchsorted(times[-1], side="right"))
            self.at, self.x = self.at[told:].copy(), self.x[max(older + told - self.window - 1, 0) :].copy()
        return values, np.where(np.isnan(values), absent, ready).astype(np.uint8)

    def snapshot(self) -> Any:
        """The window."""
        return self.at.tobytes(), self.x.tobytes()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.at, self.x = np.frombuffer(snapshot[0], np.int64), np.frombuffer(snapshot[1])


@kernel
def freshness(age_ns: Array, period_ns: Array) -> Array:
    """How much a sample of an age still counts: 1 up to its natural period T, 2^(-(age - T) / T) up to 3 T, NaN after, or without
    an age (negative). Source: file 01 section 4.

    >>> hour = 3_600_000_000_000
    >>> freshness(np.array([8, 12, 25]) * hour, np.full(3, 8 * hour)).tolist()
    [1.0, 0.7071067811865476, nan]
    """
    out = np.full(len(age_ns), math.nan)
    for i in range(len(age_ns)):
        age, period = age_ns[i], period_ns[i]
        if 0 <= age <= period:
            out[i] = 1.0
        elif period < age <= 3 * period:
            out[i] = 2.0 ** (-float(age - period) / float(period))
    return out


class Spans:
    """The voids, or other spans that control rows of a kind state, of one stream, as far as they may still matter."""

    def __init__(self, name: str, kind: int = VOID) -> None:
        self.name, self.kind = name, kind
        self.spans: tuple[tuple[int, int], ...] = ()

    def met(self, since: Array, until: Array, control: Mapping[str, Array], watermark: int) -> Array:
        """Whether a span meets each of the intervals [since, until]; those that end before `watermark` are then forgotten.

        Args:
            since: where each begins, ns, not going back from call to call.
            until: where each ends.
            control: as cores get it.
            watermark: no later interval begins before it.
        """
        if self.name in control:
            self.spans += tuple((row[2], row[3]) for row in control[self.name].tolist() if row[1] == self.kind)
        out = np.zeros(len(since), np.bool_)
        for first, last in self.spans:
            out |= (first <= until) & (since <= last)
        self.spans = tuple(span for span in self.spans if span[1] >= watermark)
        return out

    def snapshot(self) -> Any:
        """The spans."""
        return self.spans

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.spans = snapshot
