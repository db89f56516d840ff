"""What a run may take from a finished one over the same files: its bars, or its features too, where the settings allow."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple

from config import Settings
from connectors.segments import StoredSource
from events.identity import tree_hash
from events.streams import Columns, base_streams
from flows.plan import Plan
from flows.report import refusals
from operators.bars import Bars
from operators.intake import STEP

_BARS_ALONE: Final = ("trades", "klines")
"""Streams of the input, without their timeframe, that nothing but the bars is made of."""


class Reused(NamedTuple):
    """What is taken from the run in `directory`: its bars, or its bars and features."""

    directory: Path
    streams: Literal["bars", "features"]

    @property
    def studied(self) -> bool:
        """Whether features are taken."""
        return self.streams == "features"

    def source(self, plan: Plan) -> StoredSource:
        """The source of the streams, with the promises that the steps would give that make them."""
        made_of_bars = Bars(plan.timeframes, plan.max_fill).promise
        names = [name for name, _ in plan.timeframes]
        kinds = ("bars", "features") if self.studied else ("bars",)
        timed = {f"{kind}.{name}": plan.streams[f"{kind}.{name}"] for kind in kinds for name in names}
        others = [*(f"bars.open.{name}" for name in names), "gaps", "counts", "dead_letters"]
        return StoredSource(
            self.directory,
            {name: stream for name, stream in timed.items() if isinstance(stream, Columns)},
            lambda name, boundary: made_of_bars(f"bars.{name.split('.', 1)[1]}", boundary),
            {name: stream for name, stream in base_streams(names).items() if name in others},
            {STEP, *(timed if self.studied else ())},
        )


def bars_identity(settings: Settings) -> str:
    """What of the settings decides the bars made of given files."""
    tree = settings.model_dump(mode="json", include={"bars", "sources", "instruments"})
    return tree_hash(tree)


def features_identity(settings: Settings, plan: Plan) -> str:
    """What of the settings decides the features of given files."""
    return tree_hash([bars_identity(settings), plan.analysis.identity()])


def bars_suffice(directory: Path, plan: Plan) -> bool:
    """Whether nothing of the input of this finished run went past its bars: it was trades and klines alone."""
    names = {record.name.split(".")[0] for record in refusals(directory, plan.streams)[0]}
    return names <= set(_BARS_ALONE)
