"""One indicator over the anchored bars of one timeframe: batch calls for many bars, handles for one, the same bits.

Handles only cache: `serving` was opened on the start of the history of the running block, `coming` is opened on the running
block in its last bars, one indicator a bar, so that crossing into the next block costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from events.frames import Array
from operators.indicators import Indicator

Window = Callable[[int, int], list[Array]]
"""The indicator's inputs over the remembered bars [first, end)."""
Failure = tuple[int, str]
"""(row, what was raised)."""


INFINITE: Final = "it gave an infinite value"
SILENCE: Final = np.inf
"""Stands for "ready, no opinion" among the values of an indicator that may be silent; no value is infinite otherwise."""


class Span(NamedTuple):
    """New rows [first, end) that lie in one block of a history.

    `since` and `stop` bound the remembered bars that the last of them is computed from; `block_since` is the first of the
    running block: where the next block's history starts. `settled` is their status once they are stable.
    """

    first: int
    end: int
    g: int
    since: int
    block_since: int
    stop: int
    settled: int


class Anchored:
    """Evaluates one indicator. `turn` staggers the opening of handles among indicators."""

    def __init__(self, indicator: Indicator, turn: int) -> None:
        self.indicator, self.turn = indicator, turn
        self.serving: Any = None
        self.coming: Any = None
        self.block: int | None = None

    def call(self, window: Window, since: int, end: int, n: int) -> tuple[Array, list[Failure]]:
        """The last `n` values over bars [since, end) by a call; bar by bar if it raises, so that a failure costs the same bars
        however they come.
        """
        width = len(self.indicator.columns)
        if self.indicator.windowed:
            since = max(since, end - n - self.indicator.lookback)
        try:
            return self._checked(window(since, end), n)
        except Exception:
            out, failures = np.full((n, width), np.nan), []
            for row in range(n):
                try:
                    one, failed = self._checked(window(since, end - n + row + 1), 1)
                    out[row] = one[0]
                    failures += [(row, reason) for _, reason in failed]
                except Exception as error:
                    failures.append((row, f"{type(error).__name__}: {error}"))
            return out, failures

    def _checked(self, inputs: list[Array], n: int) -> tuple[Array, list[Failure]]:
        """The last `n` values of every column, and the rows that hold what no value may be."""
        columns, width = self._columns(inputs, n), len(self.indicator.columns)
        out = np.empty((n, width))
        for k, column in enumerate(columns[:width]):
            out[:, k] = column[-n:]
        failures = _without_infinity(out)
        if self.indicator.silent:
            silent = np.asarray(columns[width][-n:]) != 0
            out[silent] = SILENCE
            failures = [(row, reason) for row, reason in failures if not silent[row]]
        return out, failures

    def _columns(self, inputs: list[Array], n: int) -> tuple[Array, ...]:
        columns = self.indicator.batch(*inputs, since=len(inputs[0]) - n)
        length, width = len(inputs[0]), len(self.indicator.columns)
        if len(columns) != width + self.indicator.silent or any(len(column) != length for column in columns):
            got = ", ".join(str(len(column)) for column in columns)
            raise ValueError(
                f"{width + self.indicator.silent} column(s) of {length} values are expected, it gave lengths {got}"
            )
        return columns

    def drop(self) -> None:
        """Forget the handles: the bars come in blocks now."""
        self.serving = self.coming = None
        self.block = None

    def update(self, window: Window, newest: list[float], span: Span) -> tuple[list[float], str | None]:
        """The values at the newest bar, whose inputs are `newest`, by a handle, by a call where there is none; or what it raised.

        In scalars: numpy's calls on single values cost more than all indicators together.
        """
        if self.indicator.open is None:
            return self._call_one(window, span)
        block, place = divmod(span.g, self.indicator.history)
        if self.block is not None and block != self.block:
            self.serving = self.coming if block == self.block + 1 else None
            self.coming = None
        self.block = block
        failure = None
        try:
            self.serving, value = self._step(self.serving, window, newest, span.since, span.stop)
            values, failure = _finite(value if isinstance(value, tuple) else (value,))
        except Exception:
            self.serving = None
            values, failure = self._call_one(window, span)
        if place >= self.indicator.history - 1 - self.turn:
            with suppress(Exception):
                self.coming, _ = self._step(self.coming, window, newest, span.block_since, span.stop)
        return values, failure

    def _call_one(self, window: Window, span: Span) -> tuple[list[float], str | None]:
        indicator, since = self.indicator, span.since
        if indicator.windowed:
            since = max(since, span.stop - 1 - indicator.lookback)
        width = len(indicator.columns)
        try:
            columns = self._columns(window(since, span.stop), 1)
            if indicator.silent and columns[width][-1] != 0:
                return [SILENCE] * width, None
            return _finite([float(column[-1]) for column in columns[:width]])
        except Exception as error:
            return [math.nan] * width, f"{type(error).__name__}: {error}"

    def _step(self, handle: Any, window: Window, newest: list[float], since: int, end: int) -> tuple[Any, Any]:
        if handle is not None:
            return handle, handle.update(*newest)
        handle = self.indicator.open(*window(since, end))  # type: ignore[misc]
        return handle, handle.value


def _finite(values: Sequence[float]) -> tuple[list[float], str | None]:
    """`_without_infinity` of one row, in scalars."""
    if any(map(math.isinf, values)):
        return [math.nan] * len(values), INFINITE
    return list(values), None


def _without_infinity(values: Array) -> list[Failure]:
    """Take out the rows that hold an infinite value, which is a failure of the row."""
    infinite = np.isinf(values)
    if not infinite.any():
        return []
    rows = np.flatnonzero(infinite.any(axis=1))
    values[rows] = np.nan
    return [(row, INFINITE) for row in rows.tolist()]
