"""What the core of microstructure is made of: parts, each with some of the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from events.feeds import BESIDE, CONTEXT
from events.frames import Array
from events.identity import entry
from events.rows import feature_row
from events.schema import COLD, MISSING, SETTLED, SILENT
from operators.latest import AsOf, Input

INPUTS: Final = (*BESIDE, CONTEXT)
"""The streams that columns are made of, in canonical order."""


class MicroSettings(NamedTuple):
    """What decides the columns, as plain data.

    Attributes:
        streams: those of `INPUTS` that the run has.
        lacking: (instrument, those of them that it does not have); columns that need them are SILENT.
        base_ns: length of the base bars.
        liq_floor_usd: quote value below which liquidations have no opinion.
        liq_mode: what votes: "exhaustion" of a flush, or "momentum", the imbalance of 30 minutes.
        oi_unwind: weight of a move while open interest falls, in [0, 1].
        invert: names of sentiment features whose sign is turned.
        long_short_basis: whose ratio is read, one of `events.schema.LONG_SHORT_BASES`.
        preloaded: whether bars flagged FROM_OHLCV are of the time before the run, of which nothing else is known.
    """

    streams: tuple[str, ...]
    lacking: tuple[tuple[str, tuple[str, ...]], ...] = ()
    base_ns: int = 60_000_000_000
    liq_floor_usd: float = 10_000.0
    liq_mode: str = "exhaustion"
    oi_unwind: float = 0.0
    invert: tuple[str, ...] = ()
    long_short_basis: str = "accounts"
    preloaded: bool = False

    def of(self, instrument: str) -> frozenset[str]:
        """The streams that an instrument has."""
        return frozenset(self.streams) - frozenset(entry(dict(self.lacking), instrument, ()))


class Out:
    """The rows being made: columns by name, SILENT until they are put.

    Args:
        bars: their bars.
        columns: place of each column.
    """

    def __init__(self, bars: Array, columns: Mapping[str, int]) -> None:
        self.columns, self.n = columns, len(bars)
        self.rows = np.empty(len(bars), feature_row(len(columns)))
        for field in ("available_at", "g", "ts_open", "ts_close", "flags"):
            self.rows[field] = bars[field]
        self.values, self.status = self.rows["values"], self.rows["status"]
        self.values[:] = np.nan
        self.status[:] = SILENT

    def put(self, name: str, values: Array, status: Array | int = SETTLED) -> None:
        """A column. A value that is NaN is MISSING, unless its status says what else it is without; one of a status from COLD on
        is left out.
        """
        at = self.columns[name]
        self.values[:, at], self.status[:, at] = values, status

    def finished(self) -> Array:
        """The rows, once all columns are put."""
        absent = np.isnan(self.values)
        self.status[absent & (self.status < COLD)] = MISSING
        self.values[~absent & (self.status >= COLD)] = np.nan
        return self.rows


class Part(Protocol):
    """Columns made of some input streams. It takes rows and voids as a core gets them, and keeps what later bars need."""

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """Take all rows in, put the columns of new whole bars, of which there may be none."""
        ...

    def snapshot(self) -> Any:
        """Everything `restore` needs: picklable, and never changed afterwards."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        ...


class Newest:
    """The newest of the rows of one stream that are of use, at the close of each bar.

    Args:
        source: the stream, its row type, and how old a row may be.
        of_use: says of rows which of them count; all, if not given.
    """

    def __init__(self, source: Input, of_use: Callable[[Array], Array] | None = None) -> None:
        self.name, self.of_use, self.join = source.name, of_use, AsOf((source,))

    def taken(self, rows: Mapping[str, Array]) -> Array | None:
        """The new rows that count, None without any."""
        new = rows.get(self.name)
        if new is not None and self.of_use is not None:
            new = new[self.of_use(new)]
        return new if new is not None and len(new) else None

    def advance(
        self, watermark: int, times: Array, new: Array | None, control: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """(rows, ages in ns) at these times: NaN and NEVER where there is none, where it is too old, or under a void."""
        given = {} if new is None else {self.name: new}
        out = self.join.advance(watermark, times, given, control)
        return out.get(self.name, (self.join.none[self.name][:0], times[:0]))

    def snapshot(self) -> Any:
        """The newest row, and the voids that still hide something."""
        return self.join.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.join.restore(snapshot)
