"""The columns of the newest bar in scalars, the same bits as in blocks: numpy's calls on single values would cost more than all
indicators together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from events.frames import Array
from events.schema import COLD, CONVERGED, MISSING, SETTLED, SILENT, WARMING
from operators.analysis import Analysis
from operators.anchored import Anchored, Span
from operators.indicators import BAR_INPUTS
from operators.indicators.base import Flat, Wide
from operators.memory import BarMemory

ROUNDING: Final = 1e-9
"""By how much a direction may leave [-1, 1] before it is a fault."""
_BARS: Final = len(BAR_INPUTS)


class _Made(NamedTuple):
    """What is to be known of one indicator."""

    update: Callable[..., tuple[list[float], str | None]]
    window: Callable[[int, int], list[Array]]
    inputs: tuple[int, ...]
    taken: tuple[int, ...]  # places of its inputs among the derived columns
    flat: Flat | None
    stable: int
    history: int
    stored: tuple[tuple[int, int], ...]  # (place among the derived, place among its own columns)
    idle: int  # columns that are silent, where it is not computed on this timeframe
    wide: Wide | None


class OneBar:
    """Evaluates the newest bar of a memory.

    Args:
        analysis: the columns.
        memory: the bars.
        workers: one per indicator.
        wide: memories of their own, by indicator.
        idle: whether an indicator is not computed on this timeframe.
    """

    def __init__(
        self,
        analysis: Analysis,
        memory: BarMemory,
        workers: list[Anchored],
        wide: Mapping[int, Wide],
        idle: list[bool],
    ) -> None:
        self.memory = memory
        derived, prices = analysis.derived, memory.columns
        places = {name: place for place, name in enumerate((*BAR_INPUTS, *derived))}

        def window(inputs: tuple[int, ...]) -> Callable[[int, int], list[Array]]:
            return lambda since, end: [prices[i, since:end] for i in inputs]

        self.made = []
        for k, worker in enumerate(workers):
            indicator = worker.indicator
            inputs = tuple(places[name] for name in indicator.inputs)
            stored = tuple((derived.index(c), at) for at, c in enumerate(indicator.columns) if c in derived)
            taken = tuple(place - _BARS for place in inputs if place >= _BARS)
            silent = len(indicator.columns) * idle[k]
            self.made.append(
                _Made(
                    worker.update, window(inputs), inputs, taken, indicator.flat, indicator.stable, indicator.history,
                    stored, silent, wide.get(k),
                )
            )  # fmt: skip
        self.row = np.empty(_BARS + len(analysis.columns) - len(analysis.scores))
        in_row = {name: place for place, name in enumerate((*BAR_INPUTS, *analysis.columns))}
        self.scores: list[tuple[Callable[..., Any], list[Array], list[int]]] = []
        for score in analysis.scores:
            at = [in_row[need] for need in score.needs]
            views = [self.row[i : i + 1] for i in at]
            self.scores.append((score.function, views, [i - _BARS for i in at if i >= _BARS]))

    def evaluate(self, out: Array, bars: Array, spans: Mapping[int, Span]) -> list[tuple[int, int, str]]:
        """Fill values and statuses of the one row of `out`; failures as (0, indicator, reason).

        Args:
            out: the feature row.
            bars: its bar.
            spans: where it lies in each length of history.
        """
        memory, at = self.memory, self.memory.n - 1
        newest = memory.columns[:, at].tolist()
        price_run, close_run = int(memory.flat[at]), int(memory.level[at])
        values: list[float] = []
        status: list[int] = []
        failures: list[tuple[int, int, str]] = []
        for k, made in enumerate(self.made):
            if made.idle:
                got, marks = [math.nan] * made.idle, [SILENT] * made.idle
            elif made.wide is not None:
                far, seen, failed = made.wide.advance(bars)
                got, marks = far[0].tolist(), seen[0].tolist()
                failures += [(row, k, reason) for row, reason in failed]
            else:
                span = spans[made.history]
                got, failure = made.update(made.window, [newest[i] for i in made.inputs], span)
                got, marks = self._judged(made, got, span, close_run if made.flat and made.flat.closes else price_run)
                if failure is not None:
                    failures.append((0, k, failure))
                    got, marks = [math.nan] * len(got), [max(MISSING, mark) for mark in marks]
            for place, column in made.stored:
                memory.columns[_BARS + place, at] = newest[_BARS + place] = got[column]
                memory.marks[place, at] = marks[column]
            values += got
            status += marks
        self.row[:] = newest[:_BARS] + values
        for k, (function, views, needs) in enumerate(self.scores, len(self.made)):
            worst, u = SETTLED, math.nan
            for i in needs:
                worst = max(worst, status[i])
            if worst < COLD:
                try:
                    u = float(function(*views)[0])
                except Exception as error:
                    failures.append((0, k, f"{type(error).__name__}: {error}"))
                if abs(u) > 1.0:
                    if abs(u) > 1.0 + ROUNDING:
                        failures.append((0, k, out_of_range(u)))
                    u = math.nan if abs(u) > 1.0 + ROUNDING else math.copysign(1.0, u)
                if math.isnan(u):
                    worst = MISSING
            values.append(u)
            status.append(worst)
        out["values"][0], out["status"][0] = values, status
        return failures

    def _judged(self, made: _Made, got: list[float], span: Span, run: int) -> tuple[list[float], list[int]]:
        """Values, neutral on flat windows, and their statuses."""
        rule = made.flat
        if rule is not None and run >= rule.bars:
            got = [rule.value if x == 0.0 or not (rule.closes or math.isnan(x)) else x for x in got]
        young = span.stop - span.since < made.stable
        ready, worst = WARMING if young else span.settled, SETTLED
        for place in made.taken:  # no better than what it takes, settled only if all of its history is
            held = self.memory.marks[place, span.since : span.stop]
            worst = max(worst, int(held[-1]), CONVERGED if held.any() else SETTLED)
        if worst < COLD and all(map(math.isfinite, got)):
            return got, [max(ready, worst)] * len(got)
        absent = COLD if young else MISSING
        marks = [max(worst, absent if math.isnan(x) else SILENT if math.isinf(x) else ready) for x in got]
        return [math.nan if mark >= COLD else x for x, mark in zip(got, marks)], marks


def out_of_range(u: float) -> str:
    """What is said of a direction that is none.

    >>> out_of_range(1.5)
    'it gave 1.5, a direction lies in [-1, 1]'
    """
    return f"it gave {u:g}, a direction lies in [-1, 1]"
