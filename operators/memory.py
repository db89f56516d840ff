"""The closed bars of one timeframe that histories may still need."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.frames import Array
from events.schema import CONVERGED, NEVER, SETTLED
from operators.indicators import BAR_INPUTS
from operators.maths import extend_runs, kernel

_HIGH, _LOW, _CLOSE = (BAR_INPUTS.index(name) for name in ("high", "low", "close"))


@kernel
def worsen(worst: Array, marks: Array, since: int, stop: int) -> None:
    """Raise statuses `worst` of the last rows before `stop` to those of `marks`, at least to CONVERGED where one of the marks
    from `since` on is not SETTLED.

    >>> worst = np.zeros(3, np.uint8)
    >>> worsen(worst, np.array([2, 0, 0, 4, 0], np.uint8), 1, 5)
    >>> worst.tolist()
    [0, 4, 1]
    """
    first, unsettled = stop - len(worst), False
    for i in range(since, stop):
        unsettled |= marks[i] != SETTLED
        if i >= first:
            worst[i - first] = max(worst[i - first], marks[i], CONVERGED if unsettled else SETTLED)


class BarMemory:
    """At most two blocks of `history` bars: the running one, and the one in front of it.

    Attributes:
        n: how many bars are held; only the first `n` places of the arrays count.
        g: their absolute indices.
        columns: one row per column of `BAR_INPUTS`, then one per column that other indicators take.
        marks: the statuses of the latter.
        flat, level: per bar for how many bars the price, or the close, has stood still.
        first: index of the first bar ever, NEVER before it.
    """

    def __init__(self, history: int, derived: int = 0) -> None:
        self.history, self.n, self.first = history, 0, NEVER
        self.g = np.empty(2 * history, np.int64)
        self.columns = np.empty((len(BAR_INPUTS) + derived, 2 * history))
        self.marks = np.empty((derived, 2 * history), np.uint8)
        self.flat, self.level = np.zeros(2 * history, np.int64), np.zeros(2 * history, np.int64)

    def append(self, bars: Array) -> None:
        """Append bars of one block, forget what lies before the block in front of it."""
        first = int(bars["g"][0])
        block = first // self.history
        if self.n and block != self.g[self.n - 1] // self.history:
            kept = slice(self.place((block - 1) * self.history), self.n)
            self.n = kept.stop - kept.start
            for memory in (self.g, self.flat, self.level, *self.columns, *self.marks):
                memory[: self.n] = memory[kept].copy()
        if self.first == NEVER:
            self.first = first
        new = slice(self.n, self.n + len(bars))
        self.g[new] = bars["g"]
        for column, field in zip(self.columns, BAR_INPUTS):
            column[new] = bars[field]
        self.n = new.stop
        self._extend(new.start)

    def place(self, g: int) -> int:
        """Where the first bar of index `g` or later is."""
        return int(self.g[: self.n].searchsorted(g))

    def _extend(self, since: int) -> None:
        prices = self.columns
        extend_runs(prices[_HIGH], prices[_LOW], self.flat, since, self.n)
        extend_runs(prices[_CLOSE], prices[_CLOSE], self.level, since, self.n)

    def store(self, derived: int, values: Array, marks: Array) -> None:
        """Keep a derived column's values and statuses of the newest bars."""
        newest = slice(self.n - len(values), self.n)
        self.columns[len(BAR_INPUTS) + derived, newest] = values
        self.marks[derived, newest] = marks

    def snapshot(self) -> Any:
        """The first bar ever, and the bars held."""
        held = self.columns[:, : self.n].tobytes(), self.marks[:, : self.n].tobytes()
        return self.first, self.g[: self.n].tobytes(), *held

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.first, g, columns, marks = snapshot
        self.n = len(g) // 8
        self.g[: self.n] = np.frombuffer(g, np.int64)
        self.columns[:, : self.n] = np.frombuffer(columns).reshape(len(self.columns), self.n)
        self.marks[:, : self.n] = np.frombuffer(marks, np.uint8).reshape(len(self.marks), self.n)
        self._extend(0)
