"""Tables of streams: their columns, and rows as SQLite takes them. NaN and the null integer become NULL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from events.codec import scalar_fields, scalar_value
from events.errors import RunError
from events.frames import Array
from events.schema import NEVER, SCHEMA_VERSION
from events.streams import Columns, Stream

_CHUNK_ROWS: Final = 2_048  # of Python objects at a time; they are many times as large as the rows
_RECORD_COLUMNS: Final = ("seq", "key", "ts", "ordinal", "id", "json")
RUN_TABLE: Final = "tidewax_run"


def table_name(stream: str) -> str:
    """The table of a stream.

    >>> table_name("bars.open.1m")
    'bars_open_1m'
    """
    return stream.replace(".", "_")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Table:
    """The table of one stream.

    Column streams: `seq, key, ordinal`, and the columns of the stream; unique by key, time and ordinal.
    Record streams: `seq, key, ts, ordinal, id`, the plain fields of the record, and `json`; unique by id. A
    field of a record that has the name of one of these is called `record_<name>`.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream, self.name = stream, table_name(stream.name)

    @cached_property
    def columns(self) -> dict[str, str]:
        """The columns with their SQLite types, in order."""
        stream = self.stream
        if isinstance(stream, Columns):
            fields = {
                name: "REAL" if stream.packed[name].kind == "f" else "INTEGER" for name in stream.packed.names or ()
            }
            return {"seq": "INTEGER PRIMARY KEY", "key": "TEXT NOT NULL", "ordinal": "INTEGER NOT NULL"} | fields
        columns = {"seq": "INTEGER PRIMARY KEY", "key": "TEXT NOT NULL", "ts": "INTEGER NOT NULL"}
        columns |= {"ordinal": "INTEGER NOT NULL", "id": "TEXT NOT NULL UNIQUE"}
        for name, kind in scalar_fields(stream.record).items():
            column = f"record_{name}" if name in _RECORD_COLUMNS else name
            columns[column] = "TEXT" if kind == pa.string() else "REAL" if kind == pa.float64() else "INTEGER"
        return columns | {"json": "TEXT NOT NULL"}

    @cached_property
    def unique(self) -> tuple[str, ...]:
        """The columns that together name a row."""
        if isinstance(self.stream, Columns):
            return ("key", "ts_close" if "ts_close" in self.columns else "ts", "ordinal")
        return ("id",)

    @property
    def create(self) -> str:
        """The statement that makes the table."""
        parts = [f"{_quoted(name)} {kind}" for name, kind in self.columns.items()]
        if isinstance(self.stream, Columns):
            parts.append(f"UNIQUE ({', '.join(map(_quoted, self.unique))})")
        return f"CREATE TABLE {_quoted(self.name)} ({', '.join(parts)})"

    def delete(self, seq: int) -> str:
        """The statement that deletes the rows above a sequence number."""
        return f"DELETE FROM {_quoted(self.name)}" + (f" WHERE seq > {seq}" if seq else "")

    @cached_property
    def insert(self) -> str:
        """The statement that inserts a row of `rows`."""
        return f"INSERT INTO {_quoted(self.name)} VALUES ({', '.join('?' * len(self.columns))})"

    def rows(self, key: str, rows: Any, ordinals: Array, seq: int) -> Iterator[tuple[Any, ...]]:
        """The rows of one key as tuples in column order, numbered from `seq`."""
        stream = self.stream
        for first in range(0, len(rows), _CHUNK_ROWS):
            piece = rows[first : first + _CHUNK_ROWS]
            numbers = range(seq + first, seq + first + len(piece))
            counted = ordinals[first : first + _CHUNK_ROWS].tolist()
            if isinstance(stream, Columns):
                packed = stream.pack(piece)
                columns = [_objects(packed[name]) for name in packed.dtype.names or ()]
                yield from zip(numbers, repeat(key), counted, *columns)
            else:
                fields = tuple(scalar_fields(stream.record))
                for number, ordinal, record in zip(numbers, counted, piece):
                    values = (scalar_value(record, name) for name in fields)
                    yield (number, key, record.ts, ordinal, record.record_id, *values, record.canonical())


def _objects(values: Array) -> list[Any]:
    objects: list[Any] = values.tolist()  # NaN stays: SQLite stores it as NULL
    if values.dtype == np.dtype("i8"):
        for i in np.flatnonzero(values == NEVER).tolist():
            objects[i] = None
    return objects


def tables_of(streams: Mapping[str, Stream]) -> dict[str, Table]:
    """The tables of these streams, by stream.

    Raises:
        RunError: two streams have one table.
    """
    tables = {name: Table(stream) for name, stream in streams.items()}
    names = [table.name for table in tables.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"Two streams would share the table {twice[0]}: give one of them another name.")
    return tables


def prepare(
    connection: sqlite3.Connection, path: Path, tables: Sequence[Table], analysis_hash: str, resumed_seq: int
) -> None:
    """Make the tables, check those that are there, and delete the rows above the resumed sequence number.

    Raises:
        RunError: the file is of another schema version or analysis, or holds less than the recovery state
            says.
    """
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if RUN_TABLE in existing:
        _check_run(connection, path, analysis_hash, resumed_seq)
    else:
        foreign = sorted({table.name for table in tables} & existing)
        if foreign or resumed_seq:
            found = f"has a table {foreign[0]} of another program" if foreign else "is not the file the run wrote to"
            raise RunError(f"{path} {found}. Give another file, or start over with a new recovery store.")
        connection.execute(f"CREATE TABLE {RUN_TABLE} (schema_v INTEGER, analysis_hash TEXT, seq INTEGER)")
        connection.execute(f"INSERT INTO {RUN_TABLE} VALUES (?, ?, 0)", (SCHEMA_VERSION, analysis_hash))
    for table in tables:
        if table.name not in existing:
            connection.execute(table.create)
            continue
        found_columns = [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table.name)})")]
        if found_columns != list(table.columns):
            raise RunError(
                f"Table {table.name} of {path} has other columns than stream {table.stream.name}: it was made by another"
                " version or changed by hand. Give another file, or move this one away."
            )
        connection.execute(table.delete(resumed_seq))
    connection.execute(f"UPDATE {RUN_TABLE} SET seq = ?", (resumed_seq,))


def _check_run(connection: sqlite3.Connection, path: Path, analysis_hash: str, resumed_seq: int) -> None:
    row = connection.execute(f"SELECT schema_v, analysis_hash, seq FROM {RUN_TABLE}").fetchone()
    schema_v, stored_hash, seq = row or (None, None, 0)
    if (schema_v, stored_hash) != (SCHEMA_VERSION, analysis_hash):
        raise RunError(
            f"{path} holds rows of schema version {schema_v}, analysis {stored_hash or 'unknown'}; this run makes schema"
            f" version {SCHEMA_VERSION}, analysis {analysis_hash or 'unknown'}. Give another file, move this one away, or"
            " run with the settings and the version that wrote it."
        )
    if seq < resumed_seq:
        raise RunError(
            f"{path} holds rows up to number {seq}, but the recovery store says {resumed_seq}: the file was replaced or"
            " restored since the run stopped. Bring it back, or start over with a new recovery store and a new file."
        )
