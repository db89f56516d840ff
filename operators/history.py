"""Indicators over anchored histories: causal functions of bars become one streaming, restartable step per timeframe that does
not know when it was started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from events.frames import Array, Rows
from events.records import DeadLetter
from events.rows import feature_row
from events.schema import COLD, CONVERGED, FOLD_MISSING, MISSING, NEVER, PARTIAL, SETTLED, WARMING
from operators.anchored import Anchored, Span
from operators.dimensions import Score
from operators.indicators import BAR_INPUTS, Indicator
from operators.memory import BarMemory

FEW = 8
"""Up to so many bars a handle per indicator is cheaper than a call over the history."""


class Analysis:
    """The columns of one timeframe: indicators first, then scores, each in the order given.

    Raises:
        ValueError: two columns share a name, or a score needs a column that no indicator makes.
    """

    def __init__(self, indicators: tuple[Indicator, ...], scores: tuple[Score, ...]) -> None:
        self.indicators, self.scores = indicators, scores
        raw = [column for indicator in indicators for column in indicator.columns]
        self.columns = (*raw, *(score.column for score in scores))
        twice = sorted({column for column in self.columns if self.columns.count(column) > 1})
        if twice:
            raise ValueError(f"two indicators make a column {twice[0]!r}")
        self.offset = [0, *accumulate(len(indicator.columns) for indicator in indicators)]
        self.index = {column: k for k, column in enumerate(self.columns)}
        for score in scores:
            for need in score.needs:
                if need not in raw and need not in BAR_INPUTS:
                    raise ValueError(f"{score.column} needs the column {need!r}, which no configured indicator makes")
        self.dtype = feature_row(len(self.columns))

    def identity(self) -> list[Any]:
        """What of it decides the values, as plain data."""
        return [[i.identity() for i in self.indicators], [s.identity() for s in self.scores]]


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
        self.memory = BarMemory(self.lengths[-1])
        self.workers = [Anchored(indicator, turn) for turn, indicator in enumerate(analysis.indicators)]
        self.inputs = [tuple(map(BAR_INPUTS.index, i.inputs)) for i in analysis.indicators]

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
        for a, b in pairwise((0, *cuts, len(g)) if len(g) else ()):
            self.memory.append(bars[a:b])
            failures = self._evaluate(out[a:b], single)
            for row, k, reason in sorted(failures):
                dead.append(self._dead(out[a + row], k, reason))
        yield self.target, out
        if dead:
            yield "dead_letters", tuple(dead)

    def _evaluate(self, out: Array, single: bool) -> list[tuple[int, int, str]]:
        """Fill values and statuses of the newest bars; failures as (row, indicator, reason)."""
        memory, failures = self.memory, []
        base = memory.n - len(out)
        spans = {length: self._spans(length, base) for length in self.lengths}
        values, status = out["values"], out["status"]
        newest = memory.prices[:, memory.n - 1].tolist()
        for k, worker in enumerate(self.workers):
            columns = slice(self.analysis.offset[k], self.analysis.offset[k + 1])
            for span in spans[worker.indicator.history]:
                if single:
                    got, failed = worker.update(self._window(k), [newest[i] for i in self.inputs[k]], span)
                else:
                    worker.drop()
                    got, failed = worker.call(self._window(k), span.since, span.stop, span.end - span.first)
                values[span.first : span.end, columns] = got
                failures += [(span.first + row, k, reason) for row, reason in failed]
        self._publish_flat(values, base)
        raw = values[:, : len(self.stable)]
        raw[np.isinf(raw)] = np.nan
        seen, settled = (
            np.empty((len(out), len(self.lengths)), np.int64),
            np.empty((len(out), len(self.lengths)), np.uint8),
        )
        for column, length in enumerate(self.lengths):
            for span in spans[length]:
                rows = slice(span.first, span.end)
                seen[rows, column] = np.arange(base + span.first, base + span.end) - span.since + 1
                settled[rows, column] = span.settled
        young = seen[:, self.length_of] < self.stable
        ready = np.where(young, WARMING, settled[:, self.length_of])
        status[:, : len(self.stable)] = np.where(np.isnan(raw), np.where(young, COLD, MISSING), ready)
        for row, k, _ in failures:
            status[row, self.analysis.offset[k] : self.analysis.offset[k + 1]] = MISSING
        self._score(values, status, len(out), failures)
        return failures

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

    def _publish_flat(self, values: Array, base: int) -> None:
        """Neutral values on flat windows."""
        flat, level = self.memory.flat[base : self.memory.n], self.memory.level[base : self.memory.n]
        if not (level.any() or flat.any()):
            return
        for k, worker in enumerate(self.workers):
            rule = worker.indicator.flat
            if rule is not None:
                got = values[:, self.analysis.offset[k] : self.analysis.offset[k + 1]]
                still = ((level if rule.closes else flat) >= rule.bars)[:, None] & ~np.isnan(got)
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
                    inputs.append(self.memory.prices[BAR_INPUTS.index(need), self.memory.n - n : self.memory.n].copy())
                else:
                    at = self.analysis.index[need]
                    inputs.append(np.ascontiguousarray(values[:, at]))
                    worst = np.maximum(worst, status[:, at])
            try:
                u = score.function(*inputs)
            except Exception:
                u = np.full(n, np.nan)
                for row in range(n):
                    try:
                        u[row] = score.function(*[column_[row : row + 1] for column_ in inputs])[0]
                    except Exception as error:
                        failures.append((row, k, f"{type(error).__name__}: {error}"))
            values[:, column] = np.where(worst >= COLD, np.nan, u)
            status[:, column] = np.where(np.isnan(u) & (worst < COLD), MISSING, worst)

    def _window(self, k: int) -> Any:
        rows, prices = self.inputs[k], self.memory.prices
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
        """The bars that histories may still need."""
        return self.memory.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot; handles are opened again when they are needed."""
        self.memory.restore(snapshot)
