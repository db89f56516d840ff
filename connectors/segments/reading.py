"""Reads segments: their schema, and their rows by key in bounded memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.segments.result import by_key
from connectors.storage import storage_errors
from events.errors import RunError


def check_segment(path: Path, expected: pa.Schema) -> None:
    """Check that a segment holds rows of this schema, of the same schema version and analysis.

    Raises:
        RunError: it does not.
    """
    with storage_errors(path, "read"), pa.OSFile(str(path)) as file:
        _check_schema(path, file, expected)


def _check_schema(path: Path, file: pa.NativeFile, expected: pa.Schema) -> None:
    try:
        found = pa.ipc.read_schema(pa.ipc.read_message(file))
    except (pa.ArrowInvalid, EOFError) as error:
        raise RunError(f"{path} is not a segment: {error}. Give another run directory, or move it away.") from error
    if not found.equals(expected, check_metadata=True):
        raise RunError(
            f"{path} holds rows of another kind ({_tell(found)}) than this run makes ({_tell(expected)})."
            " Run with the settings and the version that wrote it, or give another run directory."
        )


def _tell(schema: pa.Schema) -> str:
    metadata = {name.decode(): value.decode() for name, value in (schema.metadata or {}).items()}
    version, analysis = metadata.get("schema_v", "unknown"), metadata.get("analysis_hash") or "unknown"
    return f"schema version {version}, analysis {analysis}, {len(schema.names)} columns"


class SegmentReader:
    """The rows of a segment in canonical order. Opening it reads the keys once, to learn which batches hold which.

    Args:
        path: the segment; one that is missing has no rows.
        schema: what it has to hold.
        group_bytes: of rows, roughly, that are sorted in memory at once.

    Raises:
        RunError: it holds something else, or ends within a batch.
    """

    def __init__(self, path: Path, schema: pa.Schema, group_bytes: int = 64 << 20) -> None:
        self._path, self._schema, self._group_bytes = path, schema, group_bytes
        self._offsets: dict[str, array[int]] = {}
        self._bytes: dict[str, float] = {}
        self._file: pa.NativeFile | None = None
        if path.exists():
            with storage_errors(path, "read"):
                self._file = pa.memory_map(str(path))
                _check_schema(path, self._file, schema)
                self._find()

    def _find(self) -> None:
        assert self._file is not None
        end = self._file.size()
        while (offset := self._file.tell()) < end:
            batch = self._read(offset)
            row_bytes = (self._file.tell() - offset) / max(1, batch.num_rows)
            for key, rows in by_key(batch.select(["key"])):
                self._offsets.setdefault(key, array("q")).append(offset)
                self._bytes[key] = self._bytes.get(key, 0.0) + row_bytes * rows.num_rows

    def _read(self, offset: int) -> pa.RecordBatch:
        assert self._file is not None
        self._file.seek(offset)
        try:
            return pa.ipc.read_record_batch(pa.ipc.read_message(self._file), self._schema)
        except (OSError, EOFError, pa.ArrowInvalid) as error:
            raise RunError(
                f"{self._path} cannot be read at byte {offset} ({error}): the run that wrote it did not end."
                " Resume it, then try again."
            ) from error

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        """All rows by key, within a key as they were written; neither sizes nor number of the batches mean anything."""
        group: list[str] = []
        held = 0.0
        for key in sorted(self._offsets):
            if group and held + self._bytes[key] > self._group_bytes:
                yield from self._group(group)
                group, held = [], 0.0
            group.append(key)
            held += self._bytes[key]
        if group:
            yield from self._group(group)

    def _group(self, keys: list[str]) -> Iterator[pa.RecordBatch]:
        offsets = sorted(set(chain.from_iterable(self._offsets[key] for key in keys)))
        pieces = (_between(self._read(offset), keys[0], keys[-1]) for offset in offsets)
        if len(keys) == 1:
            yield from pieces
            return
        table = pa.Table.from_batches(pieces, self._schema).combine_chunks()
        column = table.column("key").combine_chunks().dictionary_encode()
        ranks = np.argsort(np.argsort(np.array(column.dictionary.to_pylist(), object))).astype(np.int32)
        order = np.argsort(ranks[column.indices.to_numpy()], kind="stable")
        yield from table.take(pa.array(order)).combine_chunks().to_batches()

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _between(batch: pa.RecordBatch, first: str, last: str) -> pa.RecordBatch:
    """The rows of these keys of a batch that is sorted by key."""
    keys = batch.column("key")
    if first <= keys[0].as_py() and keys[-1].as_py() <= last:
        return batch
    return batch.filter(pc.and_(pc.greater_equal(keys, first), pc.less_equal(keys, last)))


def lines_by_key(path: Path) -> dict[str, array[int]]:
    """Where the JSON lines of each key begin in a file, in order; keys sorted. A missing file has none."""
    offsets: dict[str, array[int]] = {}
    if path.exists():
        with storage_errors(path, "read"), path.open("rb") as file:
            offset = 0
            for line in file:
                offsets.setdefault(json.loads(line)["key"], array("q")).append(offset)
                offset += len(line)
    return dict(sorted(offsets.items()))
