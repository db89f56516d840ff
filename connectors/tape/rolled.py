"""Rolled segments: the rows of a closed segment as Parquet files, one per stream, that `tidewax backtest` reads, and beside them
the frames in which they were handed out, so that they can be replayed exactly.

In the files of rows an instrument's rows are in their own order and instruments are merged by time, as in all files of a backtest;
the column `place` is where a row was on the tape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.storage import replacing, storage_errors
from connectors.tape.header import Header, header_of
from connectors.tape.records import Items, encode
from connectors.tape.segment import Segment
from events.errors import InputError, RunError
from events.feeds import FEEDS, TRADES
from events.frames import CONTROL, NO_CONTROL, Array, Frame, concat
from events.schema import NEVER

FRAMES: Final = "frames"
_RENAMED: Final = {(TRADES, "available_at"): "ts_event"}
"""Columns that files of trades call otherwise."""
_FRAME_COLUMNS: Final = ("instrument", "stream", "rows", "watermark", "in_order", "control", "checksum")


class _Record(NamedTuple):
    """A record to be rolled: the offset after it, its frames, and the checksum of all of it."""

    after: int
    frames: list[Frame]
    checksum: int


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
    """

    path: Path
    header: Header
    end: int

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
        table = pq.read_table(self.path)
        names = set(table.column("stream").unique().to_pylist())
        stored = {name: _stored(rolled_path(self.path.parent.parent, self.first, name), name) for name in names}
        used = dict.fromkeys(names, 0)
        before, items = self.first, Items()
        ends = [*table.column("offset").to_pylist(), None]
        frames = zip(*(table.column(name).to_pylist() for name in _FRAME_COLUMNS))
        for after, following, frame in zip(ends, ends[1:], frames):
            instrument, name, n, watermark, in_order, said, checksum = frame
            rows = stored[name][used[name] : used[name] + n] if n else FEEDS[name].empty
            used[name] += n
            control = np.frombuffer(said, CONTROL) if said else NO_CONTROL
            items.append((instrument, Frame(instrument, name, rows, watermark, control, in_order)))
            if following != after:
                if crc32(encode(before, items)) != checksum:
                    raise ValueError(f"the record at offset {before} of the tape fails its checksum")
                if offset < after <= end:
                    yield after, items
                before, items = after, Items()
        if before != self.end:
            raise ValueError(f"what is behind offset {before} of the tape is missing")


def open_rolled(path: Path) -> Rolled:
    """The rolled segment whose frames are in a file.

    Raises:
        InputError: it is none, or of another version.
    """
    with storage_errors(path, "read"):
        try:
            said = pq.read_schema(path).metadata or {}
            return Rolled(path, header_of(path, said[b"header"].decode()), int(said[b"end"]))
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise InputError(f"{path} is no file of a rolled segment ({error}). Bring it back from a copy.") from error


def roll_segment(segment: Segment) -> Rolled:
    """Make Parquet files of a closed segment, read them back, and only then remove the segment.

    Raises:
        InputError: the segment is damaged.
        RunError: the files cannot be written, or do not give back what was in the segment.
    """
    directory, records, before = segment.path.parent, list[_Record](), segment.first
    for after, items in segment.read(segment.first, segment.end):
        records.append(_Record(after, [frame for _, frame in items], crc32(encode(before, items))))
        before = after
    path = rolled_path(directory, segment.first, FRAMES)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    for name in FEEDS:
        parts = [frame for record in records for frame in record.frames if frame.name == name and len(frame.rows)]
        if parts:
            _write(_rows_table(name, parts), rolled_path(directory, segment.first, name))
    said = {"header": segment.header.to_json(), "end": str(segment.end)}
    _write(_frames_table(records).replace_schema_metadata(said), path)
    rolled = Rolled(path, segment.header, segment.end)
    try:
        read = sum(1 for _ in rolled.read(segment.first, segment.end))
    except InputError as error:
        path.unlink()
        raise RunError(f"{segment.path} could not be rolled and stays as it is: {error}") from error
    assert read == len(records)
    with storage_errors(segment.path, "remove"):
        segment.path.unlink()
    return rolled


def _write(table: pa.Table, path: Path) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _frames_table(records: list[_Record]) -> pa.Table:
    """The frames of records; offset and checksum are those of their record."""
    frames = [(record, frame) for record in records for frame in record.frames]
    columns = (
        pa.array([frame.instrument for _, frame in frames], pa.string()).dictionary_encode(),
        pa.array([frame.name for _, frame in frames], pa.string()).dictionary_encode(),
        pa.array([len(frame.rows) for _, frame in frames], pa.int64()),
        pa.array([frame.watermark for _, frame in frames], pa.int64()),
        pa.array([frame.in_order for _, frame in frames], pa.bool_()),
        pa.array([frame.control.tobytes() for _, frame in frames], pa.binary()),
        pa.array([record.checksum for record, _ in frames], pa.uint32()),
    )
    offsets = pa.array([record.after for record, _ in frames], pa.int64())
    return pa.table({"offset": offsets, **dict(zip(_FRAME_COLUMNS, columns))})


def _rows_table(name: str, frames: list[Frame]) -> pa.Table:
    """The rows of frames of one stream, merged by time."""
    rows = concat([frame.rows for frame in frames])
    instruments = list(dict.fromkeys(frame.instrument for frame in frames))
    codes = {instrument: code for code, instrument in enumerate(instruments)}
    code = np.repeat([codes[frame.instrument] for frame in frames], [len(frame.rows) for frame in frames])
    order = np.argsort(_keys(rows["available_at"], code, len(instruments)), kind="stable")
    rows, code = rows[order], code[order]
    columns: dict[str, Any] = {
        "instrument": pa.DictionaryArray.from_arrays(pa.array(code.astype(np.int32)), pa.array(instruments))
    }
    for field in rows.dtype.names or ():
        values = np.ascontiguousarray(rows[field])
        null = values == NEVER if values.dtype == np.dtype("i8") else None
        columns[_RENAMED.get((name, field), field)] = pa.array(values, mask=null)
    return pa.table(columns | {"place": pa.array(order)})


def _keys(times: Array, code: Array, instruments: int) -> Array:
    """Per row the largest time of its instrument so far, so that sorting by it keeps the order within each."""
    by_instrument = np.argsort(code, kind="stable")
    counts = np.bincount(code, minlength=instruments)
    keys = np.empty_like(times)
    for first, end in pairwise([0, *np.cumsum(counts).tolist()]):
        mine = by_instrument[first:end]
        keys[mine] = np.maximum.accumulate(times[mine])
    return keys


def _stored(path: Path, name: str) -> Array:
    """The rows of a stream as they were on the tape; none, if there is no file."""
    dtype = FEEDS[name].dtype
    if not path.exists():
        return FEEDS[name].empty
    table = pq.read_table(path)
    rows = np.empty(table.num_rows, dtype)
    place = table.column("place").to_numpy()
    for field in dtype.names or ():
        column = table.column(_RENAMED.get((name, field), field)).combine_chunks()
        column = column.fill_null(NEVER) if column.null_count else column
        rows[field][place] = column.to_numpy(zero_copy_only=False)
    rows.flags.writeable = False
    return rows
