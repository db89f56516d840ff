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
from operators.anchored import Anchored
from operators.dimensions import Score
from operators.indicators import BAR_INPUTS, Indicator
from operators.maths import run_lengths

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
        self.history = max((indicator.history for indicator in analysis.indicators), default=64)
        self.workers = [Anchored(indicator, turn) for turn, indicator in enumerate(analysis.indicators)]
        self.inputs = [tuple(map(BAR_INPUTS.index, i.inputs)) for i in analysis.indicators]
        self.stable = np.array([i.stable for i in analysis.indicators for _ in i.columns], np.int64)
        self.prices, self.n = np.empty((len(BAR_INPUTS), 2 * self.history)), 0
        self.g, self.first = np.empty(2 * self.history, np.int64), NEVER
        self.flat, self.level = np.zeros(2 * self.history, np.int64), np.zeros(2 * self.history, np.int64)

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
        cuts = range(1, len(g)) if single else (np.flatnonzero(np.diff(g // self.history)) + 1).tolist()
        for a, b in pairwise((0, *cuts, len(g)) if len(g) else ()):
            self._remember(bars[a:b])
            failures = self._evaluate(out[a:b], single)
            for row, k, reason in sorted(failures):
                dead.append(self._dead(out[a + row], k, reason))
        yield self.target, out
        if dead:
            yield "dead_letters", tuple(dead)

    def _remember(self, bars: Array) -> None:
        """Append bars of one block of the longest history, forget what lies before the block in front of it."""
        g = bars["g"]
        block = int(g[0]) // self.history
        if self.n and block != self.g[self.n - 1] // self.history:
            kept = slice(int(self.g[: self.n].searchsorted((block - 1) * self.history)), self.n)
            self.n = kept.stop - kept.start
            for memory in (self.g, self.flat, self.level, *self.prices):
                memory[: self.n] = memory[kept].copy()
        if self.first == NEVER:
            self.first = int(g[0])
        new = slice(self.n, self.n + len(g))
        self.g[new] = g
        for column, field in zip(self.prices, BAR_INPUTS):
            column[new] = bars[field]
        self.n = new.stop
        self._measure_runs(new.start)

    def _measure_runs(self, since: int) -> None:
        """How long the price, and the close, have stood still at each bar from `since` on."""
        _, high, low, close, _ = self.prices
        for run, upper, lower in ((self.flat, high, low), (self.level, close, close)):
            run[since : self.n] = run_lengths(upper[since : self.n], lower[since : self.n])
            if since and run[since]:
                still = int(np.argmin(np.append(run[since : self.n] == np.arange(1, self.n - since + 1), False)))
                if upper[since] == upper[since - 1] and run[since - 1]:
                    run[since : since + still] += run[since - 1]

    def _evaluate(self, out: Array, single: bool) -> list[tuple[int, int, str]]:
        """Fill values and statuses of the newest bars; failures as (row, indicator, reason)."""
        n, failures = len(out), []
        g = self.g[self.n - n : self.n]
        values, status = out["values"], out["status"]
        for k, worker in enumerate(self.workers):
            columns = slice(self.analysis.offset[k], self.analysis.offset[k + 1])
            history, stable = worker.indicator.history, worker.indicator.stable
            for block, first, end in worker.blocks(g):
                since = int(self.g[: self.n].searchsorted((block - 1) * history))
                stop = self.n - n + end
                if single:
                    block_since = int(self.g[: self.n].searchsorted(block * history))
                    got, failed = worker.update(self._window(k), int(g[first]), since, block_since, stop)
                else:
                    worker.drop()
                    got, failed = worker.call(self._window(k), since, stop, end - first)
                self._publish_flat(worker.indicator, got, stop)
                got[np.isinf(got)] = np.nan
                values[first:end, columns] = got
                seen = np.arange(stop - (end - first), stop)[:, None] - since + 1
                settled = SETTLED if self.first <= (block - 1) * history else CONVERGED
                warm = np.where(seen < stable, WARMING, settled)
                status[first:end, columns] = np.where(np.isnan(got), np.where(seen < stable, COLD, MISSING), warm)
                for row, reason in failed:
                    status[first + row, columns] = MISSING
                    failures.append((first + row, k, reason))
        self._score(values, status, n, failures)
        return failures

    def _publish_flat(self, indicator: Indicator, got: Array, stop: int) -> None:
        rule = indicator.flat
        if rule is None:
            return
        run = (self.level if rule.closes else self.flat)[stop - len(got) : stop]
        still = (run >= rule.bars)[:, None] & ~np.isnan(got)
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
                    inputs.append(self.prices[BAR_INPUTS.index(need), self.n - n : self.n].copy())
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
        rows = self.inputs[k]
        return lambda since, end: [self.prices[i, since:end] for i in rows]

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
        """The first bar, and the bars that histories may still need."""
        return self.first, self.g[: self.n].tobytes(), self.prices[:, : self.n].tobytes()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot; handles are opened again when they are needed."""
        self.first, g, prices = snapshot
        self.n = len(g) // 8
        self.g[: self.n] = np.frombuffer(g, np.int64)
        self.prices[:, : self.n] = np.frombuffer(prices).reshape(len(BAR_INPUTS), self.n)
        self._measure_runs(0)
