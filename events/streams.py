"""What a stream's rows look like outside the graph: its columns, and how they become plain arrays and back.

A column stream (bars, features, confluence, gaps) has a dtype whose blocks have named columns; a record stream has a
record type. Sinks, codecs and digests ask this and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from events.frames import Array
from events.records import RECORDS, Record
from events.rows import BAR, GAP_ROW, flat_columns


class Columns:
    """A stream of rows: `name`, dtype, and names for the columns of each block of the dtype."""

    def __init__(self, name: str, dtype: np.dtype[Any], blocks: Mapping[str, Sequence[str]] | None = None) -> None:
        self.name, self.dtype = name, dtype
        self.blocks = {block: tuple(names) for block, names in (blocks or {}).items()}

    @cached_property
    def flat(self) -> tuple[tuple[str, str, int | None], ...]:
        """(column, field, position in the block) in schema order, which is the order of digests."""
        return flat_columns(self.dtype, dict(self.blocks))

    @cached_property
    def packed(self) -> np.dtype[Any]:
        """The dtype of one row of a digest."""
        return np.dtype([(column, self.dtype[field].base) for column, field, _ in self.flat])

    def pack(self, rows: Array) -> Array:
        """The rows as digests see them: flat, every NaN the same NaN, no negative zero."""
        out = np.empty(len(rows), self.packed)
        for column, field, k in self.flat:
            values = rows[field] if k is None else rows[field][:, k]
            if values.dtype.kind == "f":
                values = values + 0.0
                values[np.isnan(values)] = np.nan
            out[column] = values
        return out

    def unpack(self, packed: Array) -> Array:
        """The rows of which `pack` made this."""
        out = np.zeros(len(packed), self.dtype)
        for column, field, k in self.flat:
            if k is None:
                out[field] = packed[column]
            else:
                out[field][:, k] = packed[column]
        out["available_at"] = packed["ts_close" if "ts_close" in self.packed.fields else "ts"]  # type: ignore[operator]
        return out


class Records:
    """A stream of records of one type."""

    def __init__(self, name: str, record: type[Record]) -> None:
        self.name, self.record = name, record


Stream = Columns | Records


_NOT_DIGESTED = frozenset(
    {"dead_letters", "counts", "components", "gaps", "gaps.book", "reconcile", "reconcile_counts"}
)


def is_digested(stream: str) -> bool:
    """Whether runs are compared by this stream; not by those that depend on how rows came in, and open bars.

    >>> [is_digested(name) for name in ("bars.1m", "bars.open.1m", "gaps")]
    [True, False, False]
    """
    return stream not in _NOT_DIGESTED and not stream.startswith("bars.open")


def base_streams(timeframes: Sequence[str]) -> dict[str, Stream]:
    """The streams that every graph has: bars of these timeframes, open bars, gaps, and all record streams.

    >>> list(base_streams(["1m"]))[:3]
    ['bars.1m', 'bars.open.1m', 'gaps']
    """
    streams: dict[str, Stream] = {f"bars.{timeframe}": Columns(f"bars.{timeframe}", BAR) for timeframe in timeframes}
    streams |= {f"bars.open.{timeframe}": Columns(f"bars.open.{timeframe}", BAR) for timeframe in timeframes}
    streams["gaps"] = Columns("gaps", GAP_ROW)
    streams |= {name: Records(name, record) for name, record in RECORDS.items()}
    return streams
