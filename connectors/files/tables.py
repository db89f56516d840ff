"""Parquet and Feather (Arrow IPC) files to tables, row group by row group and batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.files.decode import Piece, row_from
from connectors.files.storage import reading

_READ_BYTES: Final = 1 << 20


def table_columns(path: Path, kind: str) -> list[str]:
    """The columns of a Parquet or Feather file.

    Raises:
        InputError: the file is damaged.
    """
    with reading(str(path)):
        if kind == "parquet":
            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names)
        with pa.OSFile(str(path)) as source:
            return list(pa.ipc.open_file(source).schema.names)


def table_pieces(path: Path, kind: str, columns: Sequence[str], rows: int) -> Iterator[Piece]:
    """The tables of a Parquet or Feather file, in pieces of at most so many rows.

    Raises:
        InputError: the file is damaged, which may be found at any piece.
    """
    first, size = 0, path.stat().st_size
    with reading(str(path)):
        for batch, part in _parquet(path, columns, rows) if kind == "parquet" else _arrow(path, columns, rows):
            if batch.num_rows:
                batch.validate(full=True)  # damage would end the process: buffers are trusted from here on
                table = pl.from_arrow(batch)
                assert isinstance(table, pl.DataFrame)
                yield Piece(table, row_from(first + 1), int(size * part))
                first += batch.num_rows


def _parquet(path: Path, columns: Sequence[str], rows: int) -> Iterator[tuple[Any, float]]:
    # Without these two the reader keeps all that it has read until it is closed.
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_READ_BYTES) as file:
        done, total = 0, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(rows, columns=list(columns)):
            done += batch.num_rows
            yield batch, done / total


def _arrow(path: Path, columns: Sequence[str], rows: int) -> Iterator[tuple[Any, float]]:
    # Read, not mapped: a file that is cut while it is mapped ends the process.
    with pa.OSFile(str(path)) as source:
        names = pa.ipc.open_file(source).schema.names
        wanted = sorted(names.index(name) for name in columns)
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            for at in range(0, batch.num_rows, rows):
                part = (i + min(1.0, (at + rows) / batch.num_rows)) / reader.num_record_batches
                yield batch.slice(at, rows), part
