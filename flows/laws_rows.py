"""The laws over scores and rules: each row is judged by itself, whatever stands around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import COLD
from flows.laws_indicators import SINGLE_BARS, features, first_unequal, where
from flows.laws_markets import bars_of, drive
from flows.plan import Plan
from operators.analysis import Analysis
from operators.confluence import Confluence
from operators.dimensions import Score
from operators.history import Features
from operators.indicators import BAR_INPUTS
from operators.rules import Rule

_ALONE: Final = 400
"""So many rows are given one by one."""


def row_wise(function: Callable[..., Array], inputs: list[Array], at: Callable[[int], str]) -> Iterator[str]:
    """A row alone, rows in another order, and the same rows again: the same values, and the inputs as they were."""
    if not len(inputs[0]):
        return
    kept = [column.copy() for column in inputs]
    whole = np.array(function(*inputs))
    if first_unequal(np.array(function(*inputs)), whole) is not None:
        yield "it is not repeatable: of the same rows it gives other values the second time"
        return
    r = np.random.default_rng(3)
    order = r.permutation(len(whole))
    moved = np.empty_like(whole)
    moved[order] = function(*[np.ascontiguousarray(column[order]) for column in inputs])
    row = first_unequal(moved, whole)
    if row is not None:
        yield f"it is not row-wise: at {at(row)} it gives {whole[row]:g}, and {moved[row]:g} with the rows in another order"
        return
    for row in np.sort(r.choice(len(whole), min(_ALONE, len(whole)), replace=False)).tolist():
        alone = function(*[column[row : row + 1].copy() for column in inputs])
        if first_unequal(alone, whole[row : row + 1]) is not None:
            yield f"it is not row-wise: at {at(row)} it gives {whole[row]:g} among others, and {alone[0]:g} alone"
            return
    if any(first_unequal(a, b) is not None for a, b in zip(kept, inputs)):
        yield "it changes its inputs"


class ScoreLaws:
    """The laws over a score on one market; `u` holds its values."""

    def __init__(self, score: Score, analysis: Analysis, market: str, bars: Array) -> None:
        self.score, self.analysis, self.market, self.bars = score, analysis, market, bars
        self.rows, dead = features(analysis, bars)
        self.mine = [d for d in dead if d.source.endswith(f"/{score.column}")]
        self.place = analysis.index[score.column]
        self.u = self.rows["values"][:, self.place]

    def faults(self) -> Iterator[str]:
        """A sentence for each law that is broken."""
        if self.mine:
            at = int(np.searchsorted(self.bars["g"], self.mine[0].offset))
            reason = self.mine[0].detail.partition(": ")[2]
            yield f"it fails at {where(self.market, self.bars, at)}: {reason} ({len(self.mine)} bars in all)"
            return
        ready = np.ones(len(self.rows), np.bool_)
        inputs = []
        for need in self.score.needs:
            if need in BAR_INPUTS:
                inputs.append(np.ascontiguousarray(self.bars[need]))
            else:
                place = self.analysis.index[need]
                ready &= self.rows["status"][:, place] < COLD
                inputs.append(np.ascontiguousarray(self.rows["values"][:, place]))
        places = np.flatnonzero(ready)
        told = list(
            row_wise(
                self.score.function,
                [column[ready] for column in inputs],
                lambda row: where(self.market, self.bars, int(places[row])),
            )
        )
        yield from told
        if not told:
            yield from self._splits()

    def _splits(self) -> Iterator[str]:
        for chunk, restart in ((1, 0.02), (50, 0.2)):
            got, _ = features(self.analysis, self.bars[:SINGLE_BARS], chunk, restart)
            at = first_unequal(got["values"][:, self.place], self.u[:SINGLE_BARS])
            if at is not None:
                place = where(self.market, self.bars, at)
                yield f"it depends on how the bars arrive: at {place}, with {chunk} bars a frame"


class RuleLaws:
    """The laws over a rule on one market, behind the score of the settings; `state` holds its directions."""

    def __init__(self, rule: Rule, plan: Plan, market: str, trades: Array) -> None:
        self.rule, self.plan, self.market = rule, plan, market
        bars = bars_of(trades, plan.timeframes)
        base = f"bars.{plan.timeframes[0][0]}"
        self.bars = bars[base]
        self.streams = {base: self.bars}
        for name, length in plan.timeframes:
            source = {f"bars.{name}": bars[f"bars.{name}"]}
            made = drive(lambda n=name, t=length: Features(n, t, plan.analysis), source, 1 << 40)  # type: ignore[misc]
            self.streams[f"features.{name}"] = made.get(f"features.{name}", np.empty(0, plan.analysis.dtype))
        self.seen: list[list[Array]] = []
        watched = replace(rule, function=self._watched)
        out = self._run(watched, 1 << 40)
        self.inputs = self.seen[0]
        self.state, self.mine = out["confluence"]["state"], out.get("dead_letters", ())

    def _watched(self, *inputs: Array) -> Array:
        self.seen.append([column.copy() for column in inputs])
        return self.rule.function(*inputs)

    def _run(self, rule: Rule, chunk: int, restart: float = 0.0, bars: int | None = None) -> dict[str, Any]:
        streams = self.streams
        if bars is not None:
            end = self.bars["available_at"][min(bars, len(self.bars)) - 1]
            streams = {name: rows[rows["available_at"] <= end] for name, rows in streams.items()}
        return drive(lambda: Confluence(self.plan.confluence, self.plan.analysis, rule), streams, chunk, restart)

    def faults(self) -> Iterator[str]:
        """A sentence for each law that is broken."""
        if self.mine:
            at = int(np.searchsorted(self.bars["g"], self.mine[0].offset))
            reason = self.mine[0].detail.partition(": ")[2]
            yield f"it fails at {where(self.market, self.bars, at)}: {reason} ({len(self.mine)} bars in all)"
            return
        for k, need in enumerate(self.rule.needs):
            without = [column[:1].copy() for column in self.inputs]
            without[k][:] = np.nan
            try:
                self.rule.function(*without)
            except Exception as error:
                yield f"it raises where {need} is missing ({type(error).__name__}: {error}): what it needs may be NaN"
                return
        told = list(row_wise(self.rule.function, self.inputs, lambda row: where(self.market, self.bars, row)))
        yield from told
        for chunk, restart in ((1, 0.02), (50, 0.2)) if not told else ():
            got = self._run(self.rule, chunk, restart, SINGLE_BARS)["confluence"]["state"]
            apart = np.flatnonzero(got != self.state[: len(got)])
            if len(apart):
                place = where(self.market, self.bars, int(apart[0]))
                yield f"it depends on how the bars arrive: at {place}, with {chunk} bars a frame"
                return
