"""Indicators by steps: a state and a bar give a state and values, so that a long history costs no bars.

Two states run beside each other: one from the start of the block in front of the running one, which serves, and one from the start
of the running block, which serves when the next one begins. So a value at g is made of the bars from (g // history - 1) * history
to g, as that of any indicator.
"""

from __future__ import annotations

import math
import pickle
from collections import namedtuple
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np

from events.frames import Array
from events.rows import BAR
from events.schema import COLD, CONVERGED, MISSING, NEVER, SETTLED, WARMING

Step = Callable[[Any, Any], tuple[Any, Any]]
"""(state, or None at the start of a history; bar) to (state, value or tuple of values)."""

Bar: Final = cast(Any, namedtuple("Bar", BAR.names or ()))
"""A closed bar, with the fields of a bar row as Python numbers."""


class TwoSlot:
    """Memory of an indicator by steps.

    A step that raises costs the values of its bar and leaves the state as it was before it.

    Args:
        step: see `Step`; its states can be pickled.
        width: how many values it gives.
        history: H, a power of two.
        stable: bars from which on a value is converged.
    """

    def __init__(self, step: Step, width: int, history: int, stable: int) -> None:
        self.step, self.width, self.history, self.stable = step, width, history, stable
        self.serving: tuple[Any, int] = (None, 0)  # state, bars so far
        self.coming: tuple[Any, int] = (None, 0)
        self.block, self.first = NEVER, NEVER

    def advance(self, bars: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """Values, statuses, failures."""
        values = np.full((len(bars), self.width), math.nan)
        status = np.empty((len(bars), self.width), np.uint8)
        failures: list[tuple[int, str]] = []
        for row, fields in enumerate(bars.tolist()):
            bar = Bar(*fields)
            block = bar.g // self.history
            if block != self.block:
                self.serving = self.coming if block == self.block + 1 else (None, 0)
                self.coming = (None, 0)
                self.block = block
                self.first = bar.g if self.first == NEVER else self.first
            said = ""
            try:
                self.serving, values[row] = self._stepped(self.serving, bar)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                self.serving = self.serving[0], self.serving[1] + 1
            try:
                self.coming, _ = self._stepped(self.coming, bar)
            except Exception:
                self.coming = self.coming[0], self.coming[1] + 1
            if not said and np.isinf(values[row]).any():
                said, values[row] = "it gave an infinite value", math.nan
            if said:
                failures.append((row, said))
            young = self.serving[1] < self.stable
            whole = self.first <= (block - 1) * self.history
            ready, absent = (WARMING, COLD) if young else (SETTLED if whole else CONVERGED, MISSING)
            status[row] = MISSING if said else np.where(np.isnan(values[row]), absent, ready)
        return values, status, failures

    def _stepped(self, slot: tuple[Any, int], bar: Any) -> tuple[tuple[Any, int], Any]:
        state, given = self.step(slot[0], bar)
        found = given if isinstance(given, tuple) else (given,)
        if len(found) != self.width:
            raise ValueError(f"{self.width} value(s) are expected, the step gave {len(found)}")
        return (state, slot[1] + 1), [float(value) for value in found]

    def settled_from(self, g: Array) -> Array:
        """The start of the block in front."""
        return (g // self.history - 1) * self.history

    def snapshot(self) -> Any:
        """Both states, as they are now."""
        return pickle.dumps((self.serving, self.coming)), self.block, self.first

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        states, self.block, self.first = snapshot
        self.serving, self.coming = pickle.loads(states)
