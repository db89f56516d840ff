"""Makes one Parquet file a stream from segments: rows by key, within a key as they were computed, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.segments.reading import SegmentReader, lines_by_key
from connectors.segments.result import RollResult, Tally
from connectors.segments.sink import DEAD_LETTERS, segment_name, segments_of
from connectors.storage import replacing, storage_errors
from events.codec import arrow_schema
from events.streams import Columns, Stream

_GROUP_BYTES: Final = 32 << 20
_GROUP_ROWS: Final = 65_536
_RECORD_GROUP_ROWS: Final = 8_192


def parquet_path(directory: Path, stream: str) -> Path:
    """The file that holds a stream after the roll."""
    return directory / (f"{stream}.jsonl" if stream == DEAD_LETTERS else f"{stream}.parquet")


def roll(directory: str | Path, streams: Mapping[str, Stream], analysis_hash: str = "") -> RollResult:
    """Digests and counts of what the Parquet files hold that it makes from the segments of a run directory.

    Every stream of the mapping gets `<stream>.parquet`, an empty one too; dead letters get
    `dead_letters.jsonl`. Rows are in canonical order: by key, within a key by (time, ordinal). Each file
    appears whole or not at all; after an interruption call it again, for the same bytes. The segments stay,
    so that the run can be resumed.

    Args:
        directory: the run directory; the run has ended.
        streams: what the streams are.
        analysis_hash: what the rows were computed with.

    Raises:
        RunError: a segment is of another analysis or cannot be read, or a file cannot be written.
    """
    directory = Path(directory)
    result = RollResult()
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for name, stream in streams.items():
        source, target = segments_of(directory) / segment_name(name), parquet_path(directory, name)
        if name == DEAD_LETTERS:
            result.counts[name] = _sort_lines(source, target)
        else:
            _roll_stream(source, target, stream, arrow_schema(stream, analysis_hash)).store(result)
    return result


def _roll_stream(source: Path, target: Path, stream: Stream, schema: pa.Schema) -> Tally:
    tally = Tally(stream)
    with replacing(target) as temporary, ExitStack() as stack:
        reader = stack.enter_context(SegmentReader(source, schema))
        groups = stack.enter_context(_RowGroups(temporary, schema, _group_rows(stream)))
        for batch in reader.sorted_batches():
            tally.add_mixed(batch)
            groups.add(batch)
    return tally


def _group_rows(stream: Stream) -> int:
    if not isinstance(stream, Columns):
        return _RECORD_GROUP_ROWS
    return max(1_024, min(_GROUP_ROWS, _GROUP_BYTES // stream.packed.itemsize))


class _RowGroups:
    """Writes row groups of exactly so many rows, so that the bytes do not depend on the batches they came in."""

    def __init__(self, path: Path, schema: pa.Schema, rows: int) -> None:
        self._schema, self._rows = schema, rows
        self._held: list[pa.RecordBatch] = []
        self._count = 0
        text = [
            column.name for column in schema if pa.types.is_string(column.type) and column.name not in ("id", "json")
        ]
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=text, write_statistics=True, store_schema=True
        )

    def add(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._count += batch.num_rows
        while self._count >= self._rows:
            self._write(self._rows)

    def _write(self, rows: int) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._held = table.slice(rows).to_batches()
        self._count -= rows

    def __enter__(self) -> _RowGroups:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._count:
            self._write(self._count)
        self._writer.close()


def _sort_lines(source: Path, target: Path) -> dict[str, int]:
    offsets = lines_by_key(source)
    with replacing(target) as temporary, ExitStack() as stack:
        out = stack.enter_context(temporary.open("wb"))
        if offsets:
            lines = stack.enter_context(source.open("rb"))
            for places in offsets.values():
                for offset in places:
                    lines.seek(offset)
                    out.write(lines.readline())
    return {key: len(places) for key, places in offsets.items()}


def parse_line(line: str | bytes) -> tuple[str, dict[str, Any]]:
    """Id and fields of a dead letter in `dead_letters.jsonl`."""
    fields: dict[str, Any] = json.loads(line)
    return fields.pop("id"), fields
