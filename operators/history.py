"""Indicators over anchored histories: causal functions of bars become one streaming, restartable step per timeframe that does
not know when it was started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from events.frames import Array, Rows
from events.records import DeadLetter
from events.schema import COLD, CONVERGED, FOLD_MISSING, MISSING, NEVER, PARTIAL, SETTLED, SILENT, WARMING
from operators.analysis import Analysis
from operators.anchored import SILENCE, Anchored, Failure, Span
from operators.indicators import BAR_INPUTS
from operators.memory import BarMemory, worsen
from operators.one_bar import ROUNDING, OneBar, out_of_range

FEW = 8
"""Up to so many bars a handle per indicator is cheaper than a call over the history."""


class Features:
    """In: "bars.{name}". Out: "features.{name}", a row per whole bar, and "dead_letters", one per indicator and row that failed.

    Bars flagged PARTIAL or FOLD_MISSING are not part of a history and get no row. Memory: two of the longest history.
    """

    instrument = ""

    def __init__(self, name: str, timeframe_ns: int, analysis: Analysis) -> None:
        self.source, self.target, self.timeframe_ns = f"bars.{name}", f"features.{name}", timeframe_ns
        self.outputs = (self.target, "dead_letters")
        self.analysis = analysis
        histories = [indicator.history for indicator in analysis.indicators for _ in indicator.columns]
        self.lengths = sorted(set(histories)) or [64]
        self.length_of = np.array([self.lengths.index(history) for history in histories], np.int64)
        self.stable = np.array([i.stable for i in analysis.indicators for _ in i.columns], np.int64)
        self.memory = BarMemory(self.lengths[-1], len(analysis.derived))
        self.workers = [Anchored(indicator, turn) for turn, indicator in enumerate(analysis.indicators)]
        self.idle = [i.timeframes is not None and name not in i.timeframes for i in analysis.indicators]
        self.wide = {
            k: i.wide(timeframe_ns)
            for k, i in enumerate(analysis.indicators)
            if i.wide is not None and not self.idle[k]
        }
        places = {name: place for place, name in enumerate((*BAR_INPUTS, *analysis.derived))}
        self.inputs = [tuple(places[name] for name in indicator.inputs) for indicator in analysis.indicators]
        self.one_bar = OneBar(analysis, self.memory, self.workers, self.wide, self.idle)

    def promise(self, name: str, watermark: int) -> int:
        """As far as the bars; dead letters promise nothing."""
        return watermark if name == self.target else NEVER

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Evaluate the new bars."""
        bars = rows.get(self.source)
        if bars is None:
            return
        bars = bars[bars["flags"] & (PARTIAL | FOLD_MISSING) == 0]
        out, dead = np.empty(len(bars), self.analysis.dtype), []
        for field in ("available_at", "g", "ts_open", "ts_close", "flags"):
            out[field] = bars[field]
        g = bars["g"]
        single = len(g) <= FEW
        cuts = range(1, len(g)) if single else (np.flatnonzero(np.diff(g // self.memory.history)) + 1).tolist()
        evaluate = self._evaluate_one if single else self._evaluate
        for a, b in pairwise((0, *cuts, len(g)) if len(g) else ()):
            self.memory.append(bars[a:b])
            failures = evaluate(out[a:b], bars[a:b])
            for row, k, reason in sorted(failures):
                dead.append(self._dead(out[a + row], k, reason))
        yield self.target, out
        if dead:
            yield "dead_letters", tuple(dead)

    def _evaluate(self, out: Array, bars: Array) -> list[tuple[int, int, str]]:
        """Fill values and statuses of the newest bars; failures as (row, indicator, reason)."""
        failures: list[tuple[int, int, str]] = []
        spans = {length: self._spans(length, self.memory.n - len(out)) for length in self.lengths}
        seen = np.empty((len(out), len(self.lengths)), np.int64)
        settled = np.empty((len(out), len(self.lengths)), np.uint8)
        for column, length in enumerate(self.lengths):
            for span in spans[length]:
                rows = slice(span.first, span.end)
                seen[rows, column] = np.arange(span.stop - (span.end - span.first), span.stop) - span.since + 1
                settled[rows, column] = span.settled
        far = {k: wide.advance(bars) for k, wide in self.wide.items()}
        for level in self.analysis.levels:
            self._evaluate_level(level, out, spans, seen, settled, far, failures)
        self._score(out["values"], out["status"], len(out), failures)
        return failures

    def _evaluate_level(
        self, level: tuple[int, int], out: Array, spans: dict[int, list[Span]], seen: Array, settled: Array,
        far: dict[int, tuple[Array, Array, list[Failure]]], failures: list[tuple[int, int, str]],
    ) -> None:  # fmt: skip
        """Indicators that do not need each other."""
        offset, memory, values, status = self.analysis.offset, self.memory, out["values"], out["status"]
        known = len(failures)
        for k in range(*level):
            worker = self.workers[k]
            if k in far or self.idle[k]:
                values[:, offset[k] : offset[k + 1]] = far[k][0] if k in far else SILENCE
                continue
            for span in spans[worker.indicator.history]:
                worker.drop()
                got, failed = worker.call(self._window(k), span.since, span.stop, span.end - span.first)
                values[span.first : span.end, offset[k] : offset[k + 1]] = got
                failures += [(span.first + row, k, reason) for row, reason in failed]
        columns = slice(offset[level[0]], offset[level[1]])
        self._publish_flat(values, level)
        raw = values[:, columns]
        silent = np.isinf(raw)  # SILENCE
        raw[silent] = np.nan
        young = seen[:, self.length_of[columns]] < self.stable[columns]
        ready = np.where(young, WARMING, settled[:, self.length_of[columns]])
        status[:, columns] = np.where(np.isnan(raw), np.where(silent, SILENT, np.where(young, COLD, MISSING)), ready)
        for row, k, _ in failures[known:]:
            status[row, offset[k] : offset[k + 1]] = MISSING
        for k in far.keys() & range(*level):
            status[:, offset[k] : offset[k + 1]] = far[k][1]
            failures += [(row, k, reason) for row, reason in far[k][2]]
        if level[0]:
            self._inherit(level, values, status, spans)
        for place, name in enumerate(self.analysis.derived):
            column = self.analysis.index[name]
            if columns.start <= column < columns.stop:
                memory.store(place, values[:, column], status[:, column])

    def _inherit(self, level: tuple[int, int], values: Array, status: Array, spans: dict[int, list[Span]]) -> None:
        """A composed value is no better than what it takes: its status is the worst among its own and its inputs', and it is
        settled only if every input in its history is.
        """
        for k in range(*level):
            columns = slice(self.analysis.offset[k], self.analysis.offset[k + 1])
            for span in spans[self.workers[k].indicator.history]:
                rows, n = slice(span.first, span.end), span.end - span.first
                worst = np.zeros(n, np.uint8)
                for place in self.inputs[k]:
                    if place >= len(BAR_INPUTS):
                        worsen(worst, self.memory.marks[place - len(BAR_INPUTS)], span.since, span.stop)
                status[rows, columns] = np.maximum(status[rows, columns], worst[:, None])
                values[rows, columns] = np.where(status[rows, columns] >= COLD, np.nan, values[rows, columns])

    def _spans(self, length: int, base: int) -> list[Span]:
        """The newest bars, from place `base` on, by the blocks of a history."""
        memory, spans, first, n = self.memory, [], base, self.memory.n
        while first < n:
            g = int(memory.g[first])
            start = g // length * length
            end = n if n - first == 1 else memory.place(start + length)
            settled = SETTLED if memory.first <= start - length else CONVERGED
            since, block_since = memory.place(start - length), memory.place(start)
            spans.append(Span(first - base, end - base, g, since, block_since, end, settled))
            first = end
        return spans

    def _publish_flat(self, values: Array, level: tuple[int, int]) -> None:
        """Neutral values on flat windows."""
        newest = slice(self.memory.n - len(values), self.memory.n)
        price_runs, close_runs = self.memory.flat[newest], self.memory.level[newest]
        if not (price_runs.any() or close_runs.any()):
            return
        for k in range(*level):
            rule = self.workers[k].indicator.flat
            if rule is not None:
                got = values[:, self.analysis.offset[k] : self.analysis.offset[k + 1]]
                still = ((close_runs if rule.closes else price_runs) >= rule.bars)[:, None] & ~np.isnan(got)
                if rule.closes:
                    still &= got == 0.0
                got[still] = rule.value

    def _score(self, values: Array, status: Array, n: int, failures: list[tuple[int, int, str]]) -> None:
        """Score columns of the same rows: the worst status of what they need."""
        for k, score in enumerate(self.analysis.scores, len(self.analysis.indicators)):
            column = self.analysis.index[score.column]
            inputs, worst = [], np.zeros(n, np.uint8)
            for need in score.needs:
                if need in BAR_INPUTS:
                    inputs.append(self.memory.columns[BAR_INPUTS.index(need), self.memory.n - n : self.memory.n].copy())
                else:
                    at = self.analysis.index[need]
                    inputs.append(np.ascontiguousarray(values[:, at]))
                    worst = np.maximum(worst, status[:, at])
            u, failed = _directions(score.function, inputs, worst < COLD)
            failures += [(row, k, reason) for row, reason in failed]
            values[:, column] = np.where(worst >= COLD, np.nan, u)
            status[:, column] = np.where(np.isnan(u) & (worst < COLD), MISSING, worst)

    def _evaluate_one(self, out: Array, bars: Array) -> list[tuple[int, int, str]]:
        """`_evaluate` of one bar."""
        at = self.memory.n - 1
        return self.one_bar.evaluate(out, bars, {length: self._spans(length, at)[0] for length in self.lengths})

    def _window(self, k: int) -> Any:
        rows, prices = self.inputs[k], self.memory.columns
        return lambda since, end: [prices[i, since:end] for i in rows]

    def _dead(self, row: Array, k: int, reason: str) -> DeadLetter:
        indicators = self.analysis.indicators
        column = indicators[k].columns[0] if k < len(indicators) else self.analysis.scores[k - len(indicators)].column
        ts, g = int(row["available_at"]), int(row["g"])
        return DeadLetter(
            key=self.instrument,
            ts=ts,
            source=f"{self.instrument}/{self.target}/{column}",
            offset=g,
            ts_event=ts,
            ts_recv=ts,
            step=self.target,
            reason="INDICATOR",
            detail=f"{column} failed at bar {g}: {reason}"[:500],
            raw={},
        )

    def snapshot(self) -> Any:
        """The bars that histories may still need, and the memories that reach further back."""
        return self.memory.snapshot(), tuple(wide.snapshot() for wide in self.wide.values())

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot; handles are opened again when they are needed."""
        self.memory.restore(snapshot[0])
        for wide, held in zip(self.wide.values(), snapshot[1]):
            wide.restore(held)


def _directions(function: Callable[..., Array], inputs: list[Array], ready: Array) -> tuple[Array, list[Failure]]:
    """Directions u per row, and the rows on which the function failed or left [-1, 1], missing ones; only `ready` rows can fail."""
    failures: list[Failure] = []
    try:
        u = function(*inputs)
    except Exception:
        u = np.full(len(ready), np.nan)
        for row in np.flatnonzero(ready).tolist():
            try:
                u[row] = function(*[column[row : row + 1] for column in inputs])[0]
            except Exception as error:
                failures.append((row, f"{type(error).__name__}: {error}"))
    beyond = ready & (np.abs(u) > 1.0)
    if beyond.any():
        far = beyond & (np.abs(u) > 1.0 + ROUNDING)
        failures += [(row, out_of_range(u[row])) for row in np.flatnonzero(far).tolist()]
        u = np.where(far, np.nan, np.where(beyond, np.sign(u), u))
    return u, failures
