"""Rolled segments: the rows of a closed segment as Parquet files, one per stream, that `tidewax backtest` reads, and beside them
the frames in which they were handed out, so that they can be replayed exactly.

In the files of rows an instrument's rows are in their own order and instruments are merged by time, as in all files of a backtest;
the column `place` is where a row was on the tape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.storage import storage_errors
from connectors.tape.columns import Columns, heads_of
from connectors.tape.header import Header, header_of
from connectors.tape.records import Items, decode
from events.errors import InputError
from events.feeds import FEEDS, TRADES
from events.frames import CONTROL, Array
from events.schema import NEVER

FRAMES: Final = "frames"
RENAMED: Final = {(TRADES, "available_at"): "ts_event"}
"""Columns that files of trades call otherwise."""


def rolled_path(directory: Path, first: int, name: str) -> Path:
    """The Parquet file of a stream of the segment that began at `first`; its frames are in that of `frames`.

    >>> rolled_path(Path("tape"), 0, "trades").as_posix()
    'tape/rolled/00000000000000000000.trades.parquet'
    """
    return directory / "rolled" / f"{first:020d}.{name}.parquet"


@dataclass(frozen=True)
class Rolled:
    """A segment as Parquet files.

    Attributes:
        path: of the file of its frames.
        header: of the segment.
        end: offset after its last record.
        checksum: of its records without theirs.
    """

    path: Path
    header: Header
    end: int
    checksum: int

    @property
    def first(self) -> int:
        """Offset of its first record."""
        return self.header.first

    @property
    def files(self) -> list[Path]:
        """Its files, that of the frames first."""
        directory = self.path.parent.parent
        rows = [rolled_path(directory, self.first, name) for name in FEEDS]
        return [self.path, *(path for path in rows if path.exists())]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def last_whole(self, until: int | None = None) -> int:
        """The offset after the last record, or the last that ends at `until` or before."""
        if until is None or until >= self.end:
            return self.end
        with storage_errors(self.path, "read"):
            ends = pq.read_table(self.path, columns=["offset"]).column("offset").to_numpy()
        return max(self.first, int(ends[ends <= until].max(initial=self.first)))

    def read(self, offset: int, end: int) -> Iterator[tuple[int, Items]]:
        """The frames of each record from `offset` to `end`, with the offset after it, bit for bit those that were rolled.

        Raises:
            InputError: a file is missing or is not what was written.
        """
        with storage_errors(self.path, "read"):
            try:
                yield from self._records(offset, end)
            except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self.path} and the files beside it are damaged ({error}). Bring them back from a copy, or replay what is "
                    f"before them with --until {self.first}."
                ) from error

    def _records(self, offset: int, end: int) -> Iterator[tuple[int, Items]]:
        body = self.body()
        for at, head in heads_of(body, self.first):
            after = self.first + at + head.size
            if offset < after <= end:
                yield after, decode(body, at, head)

    def body(self) -> bytes:
        """The bytes of the records, without their checksums.

        Raises:
            ValueError: they are not those that were rolled.
        """
        columns = self.columns()
        last = int(columns.offset[-1]) if len(columns.offset) else self.first
        if last != self.end:
            raise ValueError(f"what is behind offset {last} of the tape is missing")
        body = columns.to_bytes()
        if crc32(body) != self.checksum:
            raise ValueError("what they hold fails its checksum")
        return body

    def columns(self) -> Columns:
        """Its frames."""
        table = pq.read_table(self.path)
        of = {name: table.column(name).to_numpy() for name in ("offset", "watermark", "in_order", "rows")}
        keys = [table.column(name).unify_dictionaries().combine_chunks() for name in ("instrument", "stream")]
        instruments, streams = (key.dictionary.to_pylist() for key in keys)
        pairs = keys[0].indices.to_numpy().astype(np.int64) * len(streams) + keys[1].indices.to_numpy()
        found, source = np.unique(pairs, return_inverse=True)
        sources = [(instruments[pair // len(streams)], streams[pair % len(streams)]) for pair in found.tolist()]
        said = table.column("control")
        n_control = pc.binary_length(said).to_numpy() // CONTROL.itemsize
        control = np.frombuffer(b"".join(said.filter(pa.array(n_control > 0)).to_pylist()), CONTROL)
        directory = self.path.parent.parent
        rows = {name: _stored(rolled_path(directory, self.first, name), name) for name in streams}
        return Columns(
            self.first,
            of["offset"],
            source,
            sources,
            of["watermark"],
            of["in_order"],
            of["rows"],
            n_control.astype(np.int64),
            control,
            rows,
        )


def open_rolled(path: Path) -> Rolled:
    """The rolled segment whose frames are in a file.

    Raises:
        InputError: it is none, or of another version.
    """
    with storage_errors(path, "read"):
        try:
            said = pq.read_schema(path).metadata or {}
            return Rolled(path, header_of(path, said[b"header"].decode()), int(said[b"end"]), int(said[b"checksum"]))
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise InputError(f"{path} is no file of a rolled segment ({error}). Bring it back from a copy.") from error


def _stored(path: Path, name: str) -> Array:
    """The rows of a stream as they were on the tape; none, if there is no file."""
    dtype = FEEDS[name].dtype
    if not path.exists():
        return FEEDS[name].empty
    table = pq.read_table(path)
    rows = np.empty(table.num_rows, dtype)
    place = table.column("place").to_numpy()
    for field in dtype.names or ():
        column = table.column(RENAMED.get((name, field), field)).combine_chunks()
        column = column.fill_null(NEVER) if column.null_count else column
        rows[field][place] = column.to_numpy(zero_copy_only=False)
    return rows
