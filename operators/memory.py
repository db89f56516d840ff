"""The closed bars of one timeframe that histories may still need."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.frames import Array
from events.schema import NEVER
from operators.indicators import BAR_INPUTS
from operators.maths import extend_runs

_HIGH, _LOW, _CLOSE = (BAR_INPUTS.index(name) for name in ("high", "low", "close"))


class BarMemory:
    """At most two blocks of `history` bars: the running one, and the one in front of it.

    Attributes:
        n: how many bars are held; only the first `n` places of the arrays count.
        g: their absolute indices.
        prices: one row per column of `BAR_INPUTS`.
        flat, level: per bar for how many bars the price, or the close, has stood still.
        first: index of the first bar ever, NEVER before it.
    """

    def __init__(self, history: int) -> None:
        self.history, self.n, self.first = history, 0, NEVER
        self.g = np.empty(2 * history, np.int64)
        self.prices = np.empty((len(BAR_INPUTS), 2 * history))
        self.flat, self.level = np.zeros(2 * history, np.int64), np.zeros(2 * history, np.int64)

    def append(self, bars: Array) -> None:
        """Append bars of one block, forget what lies before the block in front of it."""
        first = int(bars["g"][0])
        block = first // self.history
        if self.n and block != self.g[self.n - 1] // self.history:
            kept = slice(self.place((block - 1) * self.history), self.n)
            self.n = kept.stop - kept.start
            for memory in (self.g, self.flat, self.level, *self.prices):
                memory[: self.n] = memory[kept].copy()
        if self.first == NEVER:
            self.first = first
        new = slice(self.n, self.n + len(bars))
        self.g[new] = bars["g"]
        for column, field in zip(self.prices, BAR_INPUTS):
            column[new] = bars[field]
        self.n = new.stop
        self._extend(new.start)

    def place(self, g: int) -> int:
        """Where the first bar of index `g` or later is."""
        return int(self.g[: self.n].searchsorted(g))

    def _extend(self, since: int) -> None:
        prices = self.prices
        extend_runs(prices[_HIGH], prices[_LOW], self.flat, since, self.n)
        extend_runs(prices[_CLOSE], prices[_CLOSE], self.level, since, self.n)

    def snapshot(self) -> Any:
        """The first bar ever, and the bars held."""
        return self.first, self.g[: self.n].tobytes(), self.prices[:, : self.n].tobytes()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.first, g, prices = snapshot
        self.n = len(g) // 8
        self.g[: self.n] = np.frombuffer(g, np.int64)
        self.prices[:, : self.n] = np.frombuffer(prices).reshape(len(BAR_INPUTS), self.n)
        self._extend(0)
