"""Signal rules: a row-wise function that decides the entry state in place of the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import NEVER
from operators.analysis import Analysis
from operators.indicators import BAR_INPUTS

SCORE_COLUMNS: Final = ("score", "m", "coverage", "agreement", "dispersion", "theta", "state")
"""What a rule may need of the score; `state` is the score's own entry state."""


@dataclass(frozen=True)
class Rule:
    """The direction +1, -1 or 0 of each row.

    Attributes:
        name: by which settings choose it.
        needs: columns of the score (`SCORE_COLUMNS`), of the base bar (`BAR_INPUTS`), or features, "column@timeframe".
        function: row-wise: one float64 array per need, NaN where it is missing; gives an array of directions.
        source: what identifies the computation, plain data.
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[..., Array]
    source: tuple[Any, ...] = ()

    def identity(self) -> list[Any]:
        """What of it decides the state, as plain data."""
        return [self.name, list(self.needs), list(self.source)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns among its needs, whatever their timeframe."""
        return tuple(dict.fromkeys(need.partition("@")[0] for need in self.needs if "@" in need))

    def unknown(self, columns: tuple[str, ...], timeframes: tuple[str, ...]) -> list[str]:
        """Its needs that do not exist among these feature columns and timeframes.

        >>> Rule("r", ("score", "close", "rsi_14@5m", "rsi_14", "rsi_14@7m"), abs).unknown(("rsi_14",), ("1m", "5m"))
        ['rsi_14', 'rsi_14@7m']
        """
        known = {*SCORE_COLUMNS, *BAR_INPUTS, *(f"{column}@{name}" for column in columns for name in timeframes)}
        return [need for need in self.needs if need not in known]


class Ruling:
    """A rule at work for one instrument: it remembers the state of the last row, and since when.

    Args:
        rule: what decides.
        analysis: the columns of the feature rows.
    """

    def __init__(self, rule: Rule, analysis: Analysis) -> None:
        self.rule, self.index = rule, analysis.index
        self.state, self.since = 0, NEVER

    def inputs(self, bars: Array, score: Mapping[str, Array], joined: Mapping[str, tuple[Array, Array]]) -> list[Array]:
        """What the rule needs, a column each."""
        found = []
        for need in self.rule.needs:
            column, _, timeframe = need.partition("@")
            if timeframe:
                values = joined[f"features.{timeframe}"][0]["values"][:, self.index[column]]
            else:
                values = score[need] if need in score else bars[need]
            found.append(np.array(values, np.float64))
        return found

    def apply(self, inputs: list[Array], times: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """(state, time of its last change) per row, and (row, what was wrong) of the rows on which the rule failed: NEUTRAL."""
        given, failures = self._directions(inputs, len(times))
        state = given.astype(np.int64)
        before = np.append(self.state, state[:-1])
        changed = np.where(state != before, times, NEVER)
        since = np.maximum(np.maximum.accumulate(changed), self.since)
        self.state, self.since = int(state[-1]), int(since[-1])
        return state, since, failures

    def _directions(self, inputs: list[Array], n: int) -> tuple[Array, list[tuple[int, str]]]:
        failures: list[tuple[int, str]] = []
        try:
            out = self.rule.function(*inputs)
        except Exception:
            out = np.zeros(n)
            for row in range(n):
                try:
                    out[row] = self.rule.function(*[column[row : row + 1] for column in inputs])[0]
                except Exception as error:
                    failures.append((row, f"{type(error).__name__}: {error}"))
        wrong = np.flatnonzero((out != 0) & (np.abs(out) != 1))
        failures += [(row, f"it gave {out[row]:g}, a direction is 1, -1 or 0") for row in wrong.tolist()]
        return np.where((out == 1) | (out == -1), out, 0.0), sorted(failures)

    def snapshot(self) -> Any:
        """The state of the last row."""
        return self.state, self.since

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.state, self.since = snapshot
