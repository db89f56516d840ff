"""Microstructure: one row per bar of what resting orders, derivatives and liquidations say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.frames import Array, Rows
from events.rows import BAR, feature_row
from events.schema import FOLD_MISSING, PARTIAL
from operators.microstructure.book import BOOK_MINUTES
from operators.microstructure.derivatives import Basis, FearGreed, Funding, LongShort
from operators.microstructure.interest import OpenInterest
from operators.microstructure.liquidations import Liquidations
from operators.microstructure.part import MicroSettings, Out, Part
from operators.microstructure.quotes import QUOTE_MINUTES, Quotes
from operators.microstructure.resting import Book

NO_BARS: Final = np.empty(0, BAR)
KINDS: Final = (Book, Quotes, Funding, Basis, OpenInterest, Liquidations, LongShort, FearGreed)
"""The parts of which the core has those that its instrument has streams for."""
_ALL: Final = tuple(dict.fromkeys(column for kind in KINDS for column in kind.columns))
MICRO_COLUMNS: Final = (*(c for c in _ALL if "." not in c), *(c for c in _ALL if "." in c))
"""The columns of `micro.{timeframe}`, the same on all: features, then scores and their freshness."""
MICRO_INDEX: Final = {column: k for k, column in enumerate(MICRO_COLUMNS)}


def needs_quotes(settings: MicroSettings) -> bool:
    """Whether an instrument has best quotes and no book, so that `top.1m` is made and taken."""
    without = [instrument for instrument, lacks in settings.lacking if BOOKS in lacks and TOPS not in lacks]
    return TOPS in settings.streams and (BOOKS not in settings.streams or bool(without))


def micro_streams(name: str, timeframe_ns: int, settings: MicroSettings) -> tuple[str, ...]:
    """What the core of this timeframe takes, its bars first; these alone if it would have nothing to say."""
    base = timeframe_ns == settings.base_ns
    taken = [f"bars.{name}", *([BOOK_MINUTES] if BOOKS in settings.streams else [])]
    if base and needs_quotes(settings):
        taken.append(QUOTE_MINUTES)
    beside = (LIQUIDATIONS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT, CONTEXT) if base else (OPEN_INTEREST,)
    return (*taken, *(stream for stream in beside if stream in settings.streams))


class Micro:
    """In: "bars.{name}", which drive, and what `micro_streams` says. Out: "micro.{name}", a row per whole bar.

    Bars flagged PARTIAL or FOLD_MISSING get no row. A column whose stream the instrument does not have, or that is not of this
    timeframe, is SILENT; one whose stream is absent, stale or void is MISSING.

    Args:
        name: of the timeframe.
        timeframe_ns: its length.
        settings: see `MicroSettings`.
    """

    instrument = ""

    def __init__(self, name: str, timeframe_ns: int, settings: MicroSettings) -> None:
        self.timeframe_ns, self.settings = timeframe_ns, settings
        self.source, self.target = f"bars.{name}", f"micro.{name}"
        self.outputs = (self.target,)
        self.streams = micro_streams(name, timeframe_ns, settings)
        self.dtype = feature_row(len(MICRO_COLUMNS))
        self.parts: tuple[Part, ...] | None = None

    def promise(self, name: str, watermark: int) -> int:
        """As far as its inputs."""
        return watermark

    def _begun(self) -> tuple[Part, ...]:
        """The parts for what the instrument has, in the order in which they go."""
        if self.parts is None:
            settings, length = self.settings, self.timeframe_ns
            feeds, base = settings.of(self.instrument), length == settings.base_ns
            parts: list[Part] = []
            if BOOKS in feeds:
                parts.append(Book(length, base))
            elif TOPS in feeds and base:
                parts.append(Quotes(length))
            if OPEN_INTEREST in feeds:
                parts.append(OpenInterest(settings, length))
            if base:
                if RATES in feeds:
                    parts.append(Funding(settings))
                if TICKERS in feeds or RATES in feeds:
                    parts.append(Basis(settings, feeds))
                parts += [
                    kind(settings)
                    for stream, kind in ((LIQUIDATIONS, Liquidations), (LONG_SHORT, LongShort), (CONTEXT, FearGreed))
                    if stream in feeds
                ]
            self.parts = tuple(parts)
        return self.parts

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Make the rows of the bars that closed."""
        bars = rows.get(self.source)
        if bars is None:
            bars = NO_BARS
        bars = bars[bars["flags"] & (PARTIAL | FOLD_MISSING) == 0]
        out = Out(bars, MICRO_INDEX)
        for part in self._begun():
            part.advance(watermark, bars, rows, control, out)
        yield self.target, out.finished()

    def snapshot(self) -> Any:
        """What each part keeps."""
        return None if self.parts is None else tuple(part.snapshot() for part in self.parts)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        if snapshot is not None:
            for part, held in zip(self._begun(), snapshot):
                part.restore(held)
