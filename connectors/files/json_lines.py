"""JSON lines to tables: one object a line, its values by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl

from connectors.files.decode import Piece, line_of
from connectors.files.layout_table import NUMBERS
from connectors.files.layouts import Binding
from events.errors import InputError

_TYPES: dict[str, Any] = {
    "time": int | float | str | None,
    "close_time": int | float | str | None,
    "recv": int | float | str | None,
    "id": int | float | str | None,
    "side": int | float | str | None,
    "maker": bool | str | None,
    "closed": bool | int | str | None,
    **dict.fromkeys(
        ("available", "u_first", "u_last", "u_prev", "seq", "last", "kind", "pos", "complete", "no_event_time"),
        bool | int | float | str | None,
    ),
    **dict.fromkeys(("liq_id", "basis", "period_s", "name", "predicted", "ts_next"), bool | int | float | str | None),
    **dict.fromkeys(NUMBERS, float | str | None),
}


def json_columns(text: bytes, label: str) -> list[str]:
    """The names in the objects of the first lines, in the order in which they appear.

    Raises:
        InputError: the first line is no JSON object.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines()[:200]):
        if line.strip():
            try:
                held = json.loads(line)
            except ValueError:
                if names:
                    break
                raise bad_line(label, number + 1, "no JSON") from None
            if not isinstance(held, dict):
                raise bad_line(label, number + 1, "no JSON object")
            names.update(dict.fromkeys(held))
    return list(names)


def bad_line(label: str, line: int, what: str) -> InputError:
    """The error for a line that cannot be decoded, so that not even its time is known."""
    return InputError(
        f"{label}, line {line}: the line is {what}, so that its time is unknown. Correct or remove the line."
    )


def json_pieces(chunks: Iterable[tuple[bytes, int]], binding: Binding, label: str) -> Iterator[Piece]:
    """The tables of a file of JSON lines, one per chunk of text.

    Raises:
        InputError: a line is no JSON object.
    """
    roles = list(binding.columns)
    fields = [(role, _TYPES.get(role, str | None), None) for role in roles]
    record = msgspec.defstruct("Line", fields, rename=dict(binding.columns), gc=False)
    decoder = msgspec.json.Decoder(record)
    first = 1
    for chunk, bytes_done in chunks:
        lines = chunk.splitlines()
        numbers = [first + i for i, line in enumerate(lines) if line.strip()]
        try:
            records = decoder.decode_lines(chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            records = [_one(decoder, line, label, first + i) for i, line in enumerate(lines) if line.strip()]
        first += len(lines)
        if records:
            table = pl.DataFrame(
                {name: _series([getattr(r, role) for r in records]) for role, name in binding.columns.items()}
            )
            yield Piece(table, line_of(numbers), bytes_done)


def _one(decoder: Any, line: bytes, label: str, number: int) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise bad_line(label, number, f"not of the layout ({error})") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise bad_line(label, number, "no JSON") from None


def _series(values: list[Any]) -> pl.Series:
    """Values as a column: numbers if all are numbers, else text."""
    if all(value is not None and not isinstance(value, str) for value in values):
        column = np.array(values)
        if column.dtype.kind in "bif":
            return pl.Series(column)
    return pl.Series(
        [value if value is None or isinstance(value, str) else str(value) for value in values],
        dtype=pl.String,
    )
