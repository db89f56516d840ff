"""Reads what the roll made: rows and records of one key, and the digests of what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.segments.reading import lines_by_key
from connectors.segments.result import RollResult, Tally, by_key
from connectors.segments.roll import parquet_path, parse_line
from connectors.segments.sink import DEAD_LETTERS
from connectors.storage import storage_errors
from events.codec import arrow_schema, record_from_json, rows_from_arrow
from events.errors import RunError
from events.frames import Array
from events.records import Record
from events.streams import Columns, Records, Stream

_BATCH_ROWS = 65_536


def _open(directory: Path, stream: Stream) -> pq.ParquetFile:
    path = parquet_path(directory, stream.name)
    with storage_errors(path, "read"):
        try:
            file = pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise RunError(
                f"{path} is not a Parquet file: {error}. Run again, or give another run directory."
            ) from error
    if not file.schema_arrow.equals(arrow_schema(stream), check_metadata=False):
        raise RunError(
            f"{path} has other columns than stream {stream.name} has in this version and with these settings."
            " Read it with the settings and the version that wrote it."
        )
    return file


def read_keys(directory: str | Path, stream: Stream) -> list[str]:
    """The keys that have rows of this stream in a run directory, sorted.

    Raises:
        RunError: there is no such file, or it is of other settings.
    """
    if stream.name == DEAD_LETTERS:
        return list(lines_by_key(parquet_path(Path(directory), stream.name)))
    keys: set[str] = set()
    with _open(Path(directory), stream) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["key"]):
            keys.update(batch.column(0).unique().to_pylist())
    return sorted(keys)


@overload
def read_stream(directory: str | Path, stream: Columns, key: str) -> Array: ...
@overload
def read_stream(directory: str | Path, stream: Records, key: str) -> tuple[Record, ...]: ...
@overload
def read_stream(directory: str | Path, stream: Stream, key: str) -> Array | tuple[Record, ...]: ...
def read_stream(directory: str | Path, stream: Stream, key: str) -> Array | tuple[Record, ...]:
    """The rows or records of one key, in canonical order, bit for bit those that were computed.

    Args:
        directory: the run directory, after `roll`.
        stream: what the stream is.
        key: the instrument; one without rows gives none.

    Raises:
        RunError: there is no such file, or it is of other settings.
    """
    directory = Path(directory)
    if isinstance(stream, Records) and stream.name == DEAD_LETTERS:
        return _read_lines(parquet_path(directory, stream.name), stream, key)
    with _open(directory, stream) as file:
        groups = [i for i in range(file.num_row_groups) if _may_hold(file.metadata.row_group(i), key)]
        table = file.read_row_groups(groups)
    table = table.filter(pc.equal(table.column("key"), key))
    if isinstance(stream, Columns):
        return rows_from_arrow(stream, table)
    return tuple(record_from_json(stream, line) for line in table.column("json").to_pylist())


def read_span(directory: str | Path, stream: Columns, key: str, after: int, until: int) -> Array:
    """The rows of one key whose `ts_close` is in (after, until], in order; only the row groups that may have some are read.

    Raises:
        RunError: there is no such file, or it is of other settings.
    """
    with _open(Path(directory), stream) as file:
        place = file.schema_arrow.names.index("ts_close")
        metadata = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        table = file.read_row_groups(
            [i for i, group in enumerate(metadata) if _may_hold(group, key) and _reaches(group, place, after, until)]
        )
    close = table.column("ts_close")
    wanted = pc.and_(pc.greater(close, after), pc.less_equal(close, until))
    return rows_from_arrow(stream, table.filter(pc.and_(wanted, pc.equal(table.column("key"), key))))


def read_spans(directory: str | Path, streams: Iterable[Columns], length: int) -> dict[str, dict[int, int]]:
    """Where rows are: by key, the spans (n * length, (n + 1) * length] of `ts_close` that hold any, and the last close of each.

    Raises:
        RunError: there is no such file, or it is of other settings.
    """
    found: dict[str, dict[int, int]] = {}
    for stream in streams:
        with _open(Path(directory), stream) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["key", "ts_close"]):
                for key, part in by_key(batch):
                    closes = part.column("ts_close").to_numpy()
                    spans = (closes - 1) // length
                    ends = np.append(np.flatnonzero(np.diff(spans)), len(spans) - 1)
                    of_key = found.setdefault(key, {})
                    for span, close in zip(spans[ends].tolist(), closes[ends].tolist()):
                        of_key[span] = max(of_key.get(span, close), close)
    return {key: dict(sorted(spans.items())) for key, spans in sorted(found.items())}


def _may_hold(group: pq.RowGroupMetaData, key: str) -> bool:
    return _reaches(group, 0, key, key, closed=True)


def _reaches(group: pq.RowGroupMetaData, place: int, after: Any, until: Any, closed: bool = False) -> bool:
    """Whether the column at a place may have values in (after, until], or in [after, until]."""
    statistics = group.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= until and (after <= statistics.max if closed else after < statistics.max))


def _read_lines(path: Path, stream: Records, key: str) -> tuple[Record, ...]:
    records = []
    with storage_errors(path, "read"), path.open("rb") as lines:
        for offset in lines_by_key(path).get(key, ()):
            lines.seek(offset)
            records.append(stream.record.model_validate(parse_line(lines.readline())[1]))
    return tuple(records)


def recount(directory: str | Path, streams: Mapping[str, Stream]) -> RollResult:
    """Digests and counts from the files of a run directory: those of the roll, unless a file was changed since.

    Raises:
        RunError: a file is missing or of other settings.
    """
    directory = Path(directory)
    result = RollResult()
    for name, stream in streams.items():
        if name == DEAD_LETTERS:
            lines = lines_by_key(parquet_path(directory, name))
            result.counts[name] = {key: len(places) for key, places in lines.items()}
            continue
        tally = Tally(stream)
        with _open(directory, stream) as file, storage_errors(parquet_path(directory, name), "read"):
            for batch in file.iter_batches(_BATCH_ROWS):
                tally.add_mixed(batch)
        tally.store(result)
    return result
