"""Rolling: Parquet files of a closed segment, which take its place."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.storage import replacing, storage_errors
from connectors.tape.columns import Columns, columns_of, without_checksums
from connectors.tape.rolled import FRAMES, RENAMED, Rolled, rolled_path
from connectors.tape.segment import Segment
from events.errors import InputError, RunError
from events.frames import Array
from events.schema import NEVER


def roll_segment(segment: Segment) -> Rolled:
    """Make Parquet files of a closed segment, read them back, and only then remove the segment.

    Raises:
        InputError: the segment is damaged.
        RunError: the files cannot be written, or do not give back what was in the segment.
    """
    path = rolled_path(segment.path.parent, segment.first, FRAMES)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    rolled = Rolled(path, segment.header, segment.end, _write_files(segment, path))
    try:
        rolled.body()
    except (InputError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        path.unlink()
        raise RunError(f"{segment.path} could not be rolled and stays as it is: {error}") from error
    with storage_errors(segment.path, "remove"):
        segment.path.unlink()
    return rolled


def _write_files(segment: Segment, path: Path) -> int:
    """Write the files of a segment, that of its frames last; the checksum of what is in it."""
    body = segment.body_bytes()
    columns, end = columns_of(body, segment.first)
    if end != segment.end:
        raise segment.damage(end)
    checksum = crc32(without_checksums(body, segment.first))
    for name, rows in columns.rows.items():
        if len(rows):
            _write(rows_table(columns, name), rolled_path(segment.path.parent, segment.first, name))
    said = {"header": segment.header.to_json(), "end": str(end), "checksum": str(checksum)}
    _write(_frames_table(columns).replace_schema_metadata(said), path)
    return checksum


def rows_table(columns: Columns, name: str) -> pa.Table:
    """The rows of one stream, merged by time."""
    rows, mine = columns.rows[name], columns.of_stream(name)
    source = np.repeat(columns.source[mine], columns.n_rows[mine])
    order = np.argsort(_keys(rows["available_at"], source, len(columns.sources)), kind="stable")
    rows, source = rows[order], source[order]
    instruments = pa.array([instrument for instrument, _ in columns.sources])
    made: dict[str, Any] = {"instrument": pa.DictionaryArray.from_arrays(source.astype(np.int32), instruments)}
    for field in rows.dtype.names or ():
        values = np.ascontiguousarray(rows[field])
        null = values == NEVER if values.dtype == np.dtype("i8") else None
        made[RENAMED.get((name, field), field)] = pa.array(values, mask=null)
    return pa.table(made | {"place": pa.array(order)})


def _write(table: pa.Table, path: Path) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _frames_table(columns: Columns) -> pa.Table:
    instruments, streams = zip(*columns.sources) if columns.sources else ((), ())
    said, control = [b""] * len(columns.offset), columns.control
    ends = np.cumsum(columns.n_control)
    for frame in np.flatnonzero(columns.n_control).tolist():
        said[frame] = control[ends[frame] - columns.n_control[frame] : ends[frame]].tobytes()
    source = pa.array(columns.source, pa.int32())
    return pa.table(
        {
            "offset": columns.offset,
            "instrument": pa.DictionaryArray.from_arrays(source, pa.array(instruments, pa.string())),
            "stream": pa.DictionaryArray.from_arrays(source, pa.array(streams, pa.string())),
            "rows": columns.n_rows,
            "watermark": columns.watermark,
            "in_order": columns.in_order,
            "control": pa.array(said, pa.binary()),
        }
    )


def _keys(times: Array, code: Array, instruments: int) -> Array:
    """Per row the largest time of its instrument so far, so that sorting by it keeps the order within each."""
    by_instrument = np.argsort(code, kind="stable")
    counts = np.bincount(code, minlength=instruments)
    keys = np.empty_like(times)
    for first, end in pairwise([0, *np.cumsum(counts).tolist()]):
        mine = by_instrument[first:end]
        keys[mine] = np.maximum.accumulate(times[mine])
    return keys
