"""The features behind a signal: what moved each dimension most, who else voted, and who did not and why."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

import numpy as np

from events.frames import Array
from events.records import Signal
from events.schema import COLD, MISSING, STATUS_NAMES, WARMING
from flows.reasons import ranked
from flows.report_runs import FinishedRun
from operators.ballot import BesideFeatures
from operators.microstructure.scores import MicroScore

_WIDTH = 100


class Features:
    """The rows of a run that a signal saw.

    Args:
        run: the run.
        signal: one of its signals.
    """

    def __init__(self, run: FinishedRun, signal: Signal) -> None:
        self.run, self.signal, self.settings = run, signal, run.plan.confluence
        self.points = {(d, f): p for d, share in signal.components.items() for f, p in share.top.items()}
        self.needs = {score.column: score.needs for score in run.plan.scores}
        self.rows: dict[str, Array | None] = {}

    def lines(self) -> list[str]:
        """The top features of each dimension with their values, then by name all that voted beside them, and all that did not."""
        silent = self.settings.voters_of(self.signal.key).silent
        top: dict[tuple[str, str], str] = {}
        others: dict[str, list[str]] = {name: [] for name in ("also voting", *STATUS_NAMES[WARMING + 1 :])}
        for stream, score in self._scores():
            for timeframe, length in self._timeframes(score) if score.column not in silent else ():
                if timeframe not in stream.timeframes:
                    continue
                feature, row = f"{score.name}@{timeframe}", self._row(f"{stream.name}.{timeframe}", length)
                at = stream.columns.index(score.column)
                status = MISSING if row is None else int(row["status"][at])
                if row is None or status >= COLD:
                    others[STATUS_NAMES[status]].append(f"{score.dimension}.{feature}")
                    continue
                u, said = f"u {float(row['values'][at]):+.3f}", STATUS_NAMES[status]
                if score.freshness is not None:
                    said += f", freshness {_value(row, stream.columns.index(score.freshness))}"
                if (score.dimension, feature) not in self.points:
                    others["also voting"].append(f"{score.dimension}.{feature} {u} {said}")
                    continue
                made_of = [name for name in (*self.needs.get(score.column, ()), *score.of) if name in stream.columns]
                values = ", ".join(f"{name} {_value(row, stream.columns.index(name))}" for name in made_of)
                age_bars = (self.signal.ts - int(row["ts_close"])) / length
                top[score.dimension, feature] = (
                    f"{feature:<20}{self.points[score.dimension, feature]:>+9.4f}  {u}  {said}, {age_bars:.1f} bars old"
                    f"{f'; of {values}' if values else ''}"
                )
        if silent:
            others["not applicable"] = list(silent)
        lines = ["top features by points of the score"]
        for name, _ in self.run.plan.dimensions:
            if name in self.signal.components:
                features = ranked(self.signal.components[name])
                lines += [f"  {name}", *(f"    {top[name, f]}" for f in features if (name, f) in top)]
        for name, found in others.items():
            lines += wrap(f"{name}: {', '.join(found) or 'none'}", _WIDTH, subsequent_indent="  ")
        return lines

    def _scores(self) -> Iterator[tuple[BesideFeatures, MicroScore]]:
        plan = self.run.plan
        own = plan.electorate.voting[sum(len(stream.scores) for stream in plan.beside) :]
        every = tuple(name for name, _ in plan.timeframes)
        for stream in (*plan.beside, BesideFeatures("features", plan.analysis.columns, own, every)):
            for score in stream.scores:
                yield stream, score

    def _timeframes(self, score: MicroScore) -> list[tuple[str, int]]:
        """(name, length in ns) of the timeframes on which it votes."""
        if score.dimension in self.settings.unblended:
            return [(name, length) for name, length, _ in self.settings.timeframes[:1]]
        return [(name, length) for name, length, weight in self.settings.timeframes if weight > 0]

    def _row(self, name: str, length_ns: int) -> Array | None:
        """The newest row that was available at the signal and younger than two bars, as the score saw it."""
        if name not in self.rows:
            rows, ts = self.run.rows(name, self.signal.key), self.signal.ts
            at = int(np.searchsorted(rows["available_at"], ts, side="right")) - 1
            there = at >= 0 and ts - int(rows["available_at"][at]) < 2 * length_ns
            self.rows[name] = rows[at] if there else None
        return self.rows[name]


def _value(row: Array, at: int) -> str:
    status = int(row["status"][at])
    return f"- ({STATUS_NAMES[status]})" if status >= COLD else f"{float(row['values'][at]):.6g}"
