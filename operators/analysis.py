"""The columns of one timeframe, as a graph: what each needs, and in which order they are computed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from events.rows import feature_row
from operators.dimensions import Score
from operators.indicators import BAR_INPUTS, Indicator, indicator_of


class Analysis:
    """Indicators, each after those whose columns it takes, then scores.

    Attributes:
        indicators: in the order in which they are computed: by level, within a level as given.
        levels: (first, end) of the indicators of each level; those of one level do not need each other.
        columns: names of all columns of a feature row: indicators, then scores.
        derived: the columns that other indicators take.
        index: place of each column.
        offset: place of the first column of each indicator.
        lookback: bars before the first value of each indicator's column, those of what it takes included.

    Raises:
        ValueError: two columns share a name, a column is needed that nobody makes, or indicators need each other in a circle.
    """

    def __init__(self, indicators: tuple[Indicator, ...], scores: tuple[Score, ...]) -> None:
        self.scores = scores
        raw = [column for indicator in indicators for column in indicator.columns]
        columns = [*raw, *(score.column for score in scores)]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"two indicators make a column {twice[0]!r}")
        level_of = _levels(indicators)
        self.indicators = tuple(sorted(indicators, key=lambda indicator: level_of[indicator.columns[0]]))
        counts = [list(level_of.values()).count(level) for level in range(max(level_of.values(), default=-1) + 1)]
        ends = list(accumulate(counts))
        self.levels = list(zip([0, *ends], ends))
        raw = [column for indicator in self.indicators for column in indicator.columns]
        self.columns = (*raw, *(score.column for score in scores))
        self.offset = [0, *accumulate(len(indicator.columns) for indicator in self.indicators)]
        self.index = {column: k for k, column in enumerate(self.columns)}
        for score in scores:
            for need in score.needs:
                if need not in raw and need not in BAR_INPUTS:
                    raise ValueError(f"{score.column} needs the column {need!r}, which no indicator makes")
        taken = {name for indicator in self.indicators for name in indicator.inputs}
        self.lookback = _lookbacks(self.indicators)
        self.derived = tuple(column for column in raw if column in taken)
        self.dtype = feature_row(len(self.columns))

    def identity(self) -> list[Any]:
        """What of it decides the values, as plain data."""
        return [[i.identity() for i in self.indicators], [s.identity() for s in self.scores]]


def completed(
    indicators: tuple[Indicator, ...], scores: tuple[Score, ...], also: Iterable[str] = ()
) -> tuple[Indicator, ...]:
    """The indicators, and behind them those that must be there for the scores, for columns in `also` and for each other.

    >>> [made.columns[0] for made in completed((), (), ["adl_z", "close"])]
    ['adl_z', 'adl_20']

    Raises:
        ValueError: nothing makes a column that is needed.
    """
    found, made = list(indicators), {column for indicator in indicators for column in indicator.columns}
    waiting = [*(need for score in scores for need in score.needs), *also]
    waiting += [need for indicator in indicators for need in indicator.inputs]
    for need in waiting:
        if need not in made and need not in BAR_INPUTS:
            more = indicator_of(need)
            found.append(more)
            made.update(more.columns)
            waiting += more.inputs
    return tuple(found)


def _lookbacks(indicators: tuple[Indicator, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for indicator in indicators:
        before = max((found.get(need, 0) for need in indicator.inputs), default=0)
        found |= dict.fromkeys(indicator.columns, before + indicator.lookback)
    return found


def _levels(indicators: tuple[Indicator, ...]) -> dict[str, int]:
    """Per indicator, by its first column: 0 where it takes bars alone, else one above the highest it takes from."""
    maker = {column: indicator for indicator in indicators for column in indicator.columns}
    found: dict[str, int] = {}

    def level(indicator: Indicator, waiting: tuple[str, ...]) -> int:
        name = indicator.columns[0]
        if name in waiting:
            raise ValueError(f"indicators need each other in a circle: {' -> '.join((*waiting, name))}")
        if name not in found:
            needed = [need for need in indicator.inputs if need not in BAR_INPUTS]
            unknown = [need for need in needed if need not in maker]
            if unknown:
                raise ValueError(f"{name} needs the column {unknown[0]!r}, which no indicator makes")
            found[name] = 1 + max((level(maker[need], (*waiting, name)) for need in needed), default=-1)
        return found[name]

    return {indicator.columns[0]: level(indicator, ()) for indicator in indicators}
