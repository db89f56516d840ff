"""Rows as streams of Arrow's IPC format, self-describing, one a message.

A block of columns, such as the values of features, is one column of fixed-size lists whose field names its columns in its
metadata. Null integers and NaN are null for other readers; beneath, the bits are as they were, and those are read here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from connectors.kafka.undecodable import Undecodable
from events.frames import Array
from events.schema import NEVER, SCHEMA_VERSION
from events.streams import Columns

_BEGINNING: Final = b"\xff\xff\xff\xff"
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_LARGE: Final = 64 << 10  # from so many bytes a message on, joining messages costs more than reading each


class ArrowRows:
    """Rows of one stream.

    >>> from events.rows import GAP_ROW
    >>> wire, rows = ArrowRows(Columns("gaps", GAP_ROW)), np.array([(60, 0, NEVER, 4, NEVER, NEVER)], GAP_ROW)
    >>> value = wire.encode(rows)
    >>> pa.ipc.open_stream(value).read_all().column("until").null_count
    1
    >>> back, counts = wire.decode([value, value])
    >>> back.tobytes() == 2 * rows.tobytes(), counts
    (True, [1, 1])
    """

    def __init__(self, columns: Columns) -> None:
        self.columns, self.schema = columns, _schema(columns)
        self._begin: bytes = self.schema.serialize().to_pybytes()

    def encode(self, rows: Array) -> bytes:
        """The rows as one value."""
        arrays = [_column(rows[name]) for name in rows.dtype.names or ()]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return b"".join((self._begin, batch.serialize(), _END))

    def most_rows(self, most_bytes: int) -> int:
        """How many rows a value of so many bytes holds, at least 1."""
        beside = len(self._begin) + 1_024 + 256 * len(self.schema)  # heads of columns, and their padding
        return max(1, (most_bytes - beside) * 8 // (9 * self.columns.dtype.itemsize))  # an eighth: what says null

    def decode(self, values: Sequence[bytes]) -> tuple[Array, list[int]]:
        """All rows of these values, and how many each has.

        Raises:
            Undecodable: a value is something else.
        """
        size, begin = sum(map(len, values)), self._begin
        try:
            if size < _LARGE * len(values) and all(value.startswith(begin) for value in values):
                table = pa.ipc.open_stream(
                    b"".join([begin, *[value[len(begin) : -len(_END)] for value in values], _END])
                )
                batches = list(table)
                if len(batches) == len(values):
                    counts = [batch.num_rows for batch in batches]
                    return self._rows(pa.Table.from_batches(batches).combine_chunks().to_batches()), counts
            batches = [self._one(value) for value in values]
            return self._rows(batches), [batch.num_rows for batch in batches]
        except (pa.ArrowException, ValueError, OSError) as error:
            if isinstance(error, Undecodable):
                raise
            raise Undecodable(f"it is no whole stream of Arrow: {error}") from error

    def _one(self, value: bytes) -> pa.RecordBatch:
        if not value.startswith(_BEGINNING):
            raise Undecodable("it is neither rows of Arrow nor a JSON object")
        reader = pa.ipc.open_stream(value)
        found = reader.schema
        if not found.equals(self.schema, check_metadata=True):
            raise Undecodable(self._difference(found))
        return reader.read_all().combine_chunks().to_batches()[0]

    def _rows(self, batches: list[pa.RecordBatch]) -> Array:
        out, at = np.empty(sum(batch.num_rows for batch in batches), self.columns.dtype), 0
        for batch in batches:
            part = out[at : at + batch.num_rows]
            for name, column in zip(out.dtype.names or (), batch.columns):
                part[name] = _values(column, self.columns.dtype[name])
            at += batch.num_rows
        return out

    def _difference(self, found: pa.Schema) -> str:
        """What is different between a schema and this one."""
        version = (found.metadata or {}).get(b"schema_v", b"none").decode()
        if version != str(SCHEMA_VERSION):
            return f"it is of schema version {version}, and this program of {SCHEMA_VERSION}"
        for field in self.schema:
            index = found.get_field_index(field.name)
            if index < 0 or not field.equals(found.field(index), check_metadata=True):
                return f"column {field.name!r} is not there, or another one than stream {self.columns.name} has here"
        return f"it has other columns than stream {self.columns.name} has here"


def _schema(columns: Columns) -> pa.Schema:
    fields = []
    for name in columns.dtype.names or ():
        kind = columns.dtype[name]
        arrow = _arrow(kind.base)
        names = {"columns": json.dumps(columns.blocks.get(name, ()))} if kind.shape else None
        fields.append(pa.field(name, pa.list_(arrow, kind.shape[0]) if kind.shape else arrow, metadata=names))
    return pa.schema(fields, {"schema_v": str(SCHEMA_VERSION)})


def _arrow(kind: np.dtype[Any]) -> pa.DataType:
    return pa.binary(kind.itemsize) if kind.kind == "S" else pa.from_numpy_dtype(kind)


def _column(column: Array) -> pa.Array:
    """A field of rows as a column; null where it is NaN or the null integer, with its bits beneath."""
    values = np.ascontiguousarray(column)
    flat = values.reshape(-1)
    null = np.isnan(flat) if flat.dtype.kind == "f" else flat == NEVER if flat.dtype == np.dtype("i8") else None
    bits = None if null is None or not null.any() else pa.py_buffer(np.packbits(~null, bitorder="little"))
    array = pa.Array.from_buffers(_arrow(flat.dtype), len(flat), [bits, pa.py_buffer(flat)])
    return pa.FixedSizeListArray.from_arrays(array, values.shape[1]) if values.ndim > 1 else array


def _values(column: Any, kind: np.dtype[Any]) -> Array:
    """The bits of a column, whatever is null."""
    first, n = column.offset, len(column)
    if kind.shape:
        first, n, column = first * kind.shape[0], n * kind.shape[0], column.values
        first += column.offset
    values: Array = np.frombuffer(column.buffers()[1], kind.base, n, first * kind.base.itemsize)
    return values.reshape(-1, *kind.shape)
