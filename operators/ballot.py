"""What votes at a base bar: the direction, status and freshness of every score, read from the rows of several streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from events.frames import Array
from events.rows import feature_row
from events.schema import COLD, MISSING, SILENT
from operators.analysis import Analysis
from operators.beta import BETA_SCORES
from operators.dimensions import Score
from operators.latest import Input
from operators.microstructure.scores import MICRO_SCORES, MicroScore

BESIDE_SCORES: Final = (*MICRO_SCORES, *BETA_SCORES)
"""All scores beside the features, in registry order: sums of the score run in this order."""


class BesideFeatures(NamedTuple):
    """A stream of feature rows beside `features`.

    Attributes:
        name: without the timeframe.
        columns: of its rows.
        scores: among the columns.
        timeframes: on which it is; on others its scores are silent.
    """

    name: str
    columns: tuple[str, ...]
    scores: tuple[MicroScore, ...]
    timeframes: tuple[str, ...]


def of_features(score: Score) -> MicroScore:
    """A score of the features in the form of those beside them: it needs no stream but that of the bars."""
    return MicroScore(score.name, score.dimension, score.weight, score.column, None, ())


class Votes(NamedTuple):
    """The ballots of some base bars, each (bar, timeframe, score)."""

    u: Array
    status: Array
    freshness: Array


class Ballot:
    """Where the scores are, in registry order: those of streams beside the features first, stream by stream.

    Args:
        timeframes: (name, length in ns).
        analysis: the columns of the features, and the scores among them.
        beside: the streams beside them.
        dimensions: names of those that vote.

    Attributes:
        scores: those of dimensions that vote.
        inputs: the streams to be joined; rows live two bars.
    """

    def __init__(
        self,
        timeframes: Sequence[tuple[str, int]],
        analysis: Analysis,
        beside: Sequence[BesideFeatures],
        dimensions: Sequence[str],
    ) -> None:
        self.timeframes = tuple(name for name, _ in timeframes)
        own = tuple(map(of_features, analysis.scores))
        self.scores: list[MicroScore] = []
        self.inputs: list[Input] = []
        self.fading: list[tuple[str, int, int]] = []  # stream, place among the scores, column of the freshness
        self._parts: list[tuple[str, slice, Array]] = []
        for stream, columns, scores, there in (
            *beside,
            BesideFeatures("features", analysis.columns, own, self.timeframes),
        ):
            voting = [score for score in scores if score.dimension in dimensions]
            dtype = feature_row(len(columns))
            self.inputs += [
                Input(f"{stream}.{name}", dtype, 2 * length - 1) for name, length in timeframes if name in there
            ]
            first = len(self.scores)
            self.scores += voting
            places = np.array([columns.index(score.column) for score in voting], np.int64)
            if voting:
                self._parts.append((stream, slice(first, len(self.scores)), places))
            for place, score in enumerate(voting, first):
                if score.freshness is not None:
                    self.fading.append((stream, place, columns.index(score.freshness)))

    def read(self, joined: Mapping[str, tuple[Array, Array]], bars: int, silent: Array) -> Votes:
        """The ballots of `bars` base bars, given the rows of each stream as of each.

        Args:
            joined: (rows, ages) by stream, as the join gives them.
            bars: how many.
            silent: places of the scores that are not applicable.
        """
        shape = (bars, len(self.timeframes), len(self.scores))
        u, status, freshness = np.full(shape, np.nan), np.full(shape, SILENT, np.uint8), np.ones(shape)
        for s, name in enumerate(self.timeframes):
            for stream, places, columns in self._parts:
                if f"{stream}.{name}" not in joined:
                    continue
                found = joined[f"{stream}.{name}"][0]
                u[:, s, places], status[:, s, places] = found["values"][:, columns], found["status"][:, columns]
            for stream, place, column in self.fading:
                if f"{stream}.{name}" not in joined:
                    continue
                fresh = joined[f"{stream}.{name}"][0]["values"][:, column]
                unknown = np.isnan(fresh)
                lost = unknown & (status[:, s, place] < COLD)
                status[lost, s, place] = MISSING
                freshness[:, s, place] = np.where(unknown, 1.0, fresh)
        if len(silent):
            status[:, :, silent] = SILENT
        return Votes(u, status, freshness)
