"""Arrow and JSON codecs. What goes in comes out bit for bit: NaN and the null integer travel as null."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import numpy as np
import pyarrow as pa

from events.frames import Array
from events.records import Record
from events.schema import NEVER, SCHEMA_VERSION
from events.streams import Columns, Records, Stream

_SCALARS: Final = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _scalar(annotation: Any) -> pa.DataType | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _scalar(kinds[0]) if len(kinds) == 1 else None
    if origin is Literal:
        return pa.string() if all(isinstance(word, str) for word in arguments) else None
    return _SCALARS.get(annotation) if origin is None else None


@cache
def scalar_fields(record: type[Record]) -> dict[str, pa.DataType]:
    """The fields of a record that make columns of their own beside its JSON, with their types.

    >>> from events.records import IntakeCounts
    >>> list(scalar_fields(IntakeCounts))
    ['name', 'received', 'accepted', 'reordered']
    """
    kinds = {name: _scalar(field.annotation) for name, field in record.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None and name not in ("key", "ts", "schema_v")}


def scalar_value(record: Record, name: str) -> Any:
    """The field `name` as columns hold it: NaN and the null integer are None."""
    value = getattr(record, name)
    return None if value != value or value == NEVER else value  # noqa: PLR0124


def arrow_schema(stream: Stream, analysis: str = "") -> pa.Schema:
    """The Arrow schema of a stream in files: `key` and `ordinal` first; schema version and analysis hash as metadata."""
    fields = [pa.field("key", pa.string(), nullable=False), pa.field("ordinal", pa.int64(), nullable=False)]
    if isinstance(stream, Columns):
        packed = stream.packed
        fields += [pa.field(name, pa.from_numpy_dtype(packed[name])) for name in packed.names or ()]
    else:
        fields += [pa.field("ts", pa.int64()), pa.field("id", pa.string())]
        fields += [pa.field(name, kind) for name, kind in scalar_fields(stream.record).items()]
        fields.append(pa.field("json", pa.string()))
    return pa.schema(fields, {"schema_v": str(SCHEMA_VERSION), "analysis_hash": analysis})


def _column(values: Array) -> pa.Array:
    values = np.ascontiguousarray(values)
    if values.dtype.kind == "f":
        return pa.array(values, from_pandas=True)  # NaN is null
    if values.dtype == np.dtype("i8"):
        null = values == NEVER
        return pa.array(values, mask=null) if null.any() else pa.array(values)
    return pa.array(values)


def to_arrow(
    stream: Stream, schema: pa.Schema, instruments: str | Sequence[str], rows: Any, ordinals: Sequence[int] | Array
) -> pa.RecordBatch:
    """Rows or records as a batch of `arrow_schema(stream)`; `instruments` is that of all rows, or one for each."""
    one = isinstance(instruments, str)
    key = pa.repeat(pa.scalar(instruments), len(rows)) if one else pa.array(instruments, pa.string())
    ordinal = pa.array(ordinals, pa.int64())
    if isinstance(stream, Columns):
        packed = stream.pack(rows)
        columns = [_column(packed[name]) for name in packed.dtype.names or ()]
    else:
        scalars = scalar_fields(stream.record)
        columns = [pa.array([r.ts for r in rows], pa.int64()), pa.array([r.record_id for r in rows])]
        columns += [pa.array([scalar_value(r, name) for r in rows], kind) for name, kind in scalars.items()]
        columns.append(pa.array([r.canonical() for r in rows]))
    return pa.record_batch([key, ordinal, *columns], schema=schema)


def packed_from_arrow(stream: Columns, batch: pa.RecordBatch | pa.Table) -> Array:
    """The rows of a column stream as digests see them, from a batch or table of them."""
    packed = np.empty(batch.num_rows, stream.packed)
    for name in packed.dtype.names or ():
        column = batch.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        kind = packed.dtype[name]
        if column.null_count:
            column = column.fill_null(float("nan") if kind.kind == "f" else NEVER)
        packed[name] = column.to_numpy(zero_copy_only=False)
    return packed


def rows_from_arrow(stream: Columns, batch: pa.RecordBatch | pa.Table) -> Array:
    """The rows of a column stream from a batch or table of them."""
    return stream.unpack(packed_from_arrow(stream, batch))


def rows_to_json(stream: Columns, rows: Array) -> list[str]:
    """One JSON object a row; NaN and the null integer are null.

    >>> from events.rows import GAP_ROW
    >>> rows_to_json(Columns("gaps", GAP_ROW), np.array([(60, 0, NEVER, 4, NEVER, NEVER)], GAP_ROW))
    ['{"ts":60,"since":0,"until":null,"reason":4,"id_from":null,"id_to":null}']
    """
    packed = stream.pack(rows)
    names = packed.dtype.names or ()
    return [
        json.dumps({name: None if _is_null(value) else value for name, value in zip(names, row)}, separators=(",", ":"))
        for row in packed.tolist()
    ]


def _is_null(value: float) -> bool:
    return math.isnan(value) if isinstance(value, float) else value == NEVER


def rows_from_json(stream: Columns, lines: Sequence[str]) -> Array:
    """The rows that `rows_to_json` wrote."""
    packed = np.zeros(len(lines), stream.packed)
    for i, line in enumerate(lines):
        for name, value in json.loads(line).items():
            packed[i][name] = value if value is not None else np.nan if stream.packed[name].kind == "f" else NEVER
    return stream.unpack(packed)


def record_from_json(stream: Records, line: str) -> Record:
    """The record of which this is the canonical JSON."""
    return stream.record.model_validate_json(line)
