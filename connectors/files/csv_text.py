"""CSV text to tables: blocks of whole lines, parsed in columns, the odd block line by line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from connectors.files.decode import Piece
from connectors.files.layout_table import NUMBERS
from connectors.files.layouts import Asked, Binding, bind, bind_headerless
from events.errors import InputError

_SAMPLE_ROWS: Final = 200
_INTEGERS: Final = ("time", "close_time", "recv", "available", "id", "u_first", "u_last", "u_prev", "seq", "ts_next")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class CsvHead:
    """What the beginning of a CSV file says.

    Attributes:
        binding: its layout and columns.
        names: the names of all columns, `0`, `1`, ... without a header.
        delimiter: one character.
        header: whether the first line names the columns.
        types: the types by which the columns that are used are parsed, as long as that works.
    """

    binding: Binding
    names: tuple[str, ...]
    delimiter: str
    header: bool
    types: dict[str, Any]


def csv_head(text: bytes, asked: Asked) -> CsvHead:
    """Recognise a CSV file by its first lines.

    Raises:
        InputError: they fit no layout, or cannot be decoded.
    """
    label = asked.label
    try:
        lines = [line for line in text.removeprefix(_BOM).decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise InputError(f"{label}, line {line}: the bytes are no UTF-8 text. Store the file as UTF-8.") from None
    if not lines:
        raise InputError(f"{label} is empty.")
    delimiter = max(",;\t|", key=lines[0].count)
    sample = list(csv.reader(lines[: _SAMPLE_ROWS + 1], delimiter=delimiter))
    header = not any(_is_number(field) or field.strip().lower() in ("true", "false") for field in sample[0])
    if header:
        names = [name.strip() or f"column {i + 1}" for i, name in enumerate(sample[0])]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{label} has two columns {twice!r}. Rename one of them.")
        if len(sample) > 1 and len(names) == 1 and max(map(lines[1].count, ",;\t|")) > 1:
            raise InputError(
                f"{label}: line 1, {lines[0][:80]!r}, does not name the columns. Remove the lines before the one that does."
            )
        binding = bind(names, asked)
    else:
        names = [str(i) for i in range(len(sample[0]))]
        binding = bind_headerless(sample[0], asked)
    rows = [row for row in sample[header:] if len(row) == len(names)]
    types = {
        name: _type(role, [row[names.index(name)].strip() for row in rows]) for role, name in binding.columns.items()
    }
    return CsvHead(binding, tuple(names), delimiter, header, types)


def csv_pieces(chunks: Iterable[tuple[bytes, int]], head: CsvHead, label: str) -> Iterator[Piece]:
    """The tables of a CSV file, one per chunk of text.

    Raises:
        InputError: a line is no UTF-8 text.
    """
    line, header = 1, head.header
    for chunk, bytes_done in chunks:
        text = chunk.removeprefix(_BOM) if line == 1 else chunk
        first = line
        line += _lines(text)
        if header:
            stripped = text.lstrip(b"\r\n")
            first += text.count(b"\n") - stripped.count(b"\n") + 1
            text = stripped[stripped.find(b"\n") + 1 :] if b"\n" in stripped else b""
            header = False
        if not text or text.isspace():
            continue
        table, malformed = _table(text, head, label, first)
        yield Piece(table, _line_finder(text, first), bytes_done, malformed)


def _table(text: bytes, head: CsvHead, label: str, first: int) -> tuple[pl.DataFrame, Sequence[int]]:
    """Lines as a table: by the types of the head, else as text in columns, else line by line."""
    width = len(head.names) - 1
    if _count(text, head.delimiter) != _lines(text) * width:
        text = b"\n".join(line for line in text.splitlines() if line.strip())
    rows = _lines(text)
    # Short lines would be filled with nulls without a word, so the delimiters of lines without quotes are counted.
    if b'"' in text or _count(text, head.delimiter) == rows * width:
        for typed in (True, False):
            schema = {name: head.types.get(name, pl.String) if typed else pl.String for name in head.names}
            try:
                table = pl.read_csv(
                    text,
                    has_header=False,
                    schema=schema,
                    columns=sorted({head.names.index(name) for name in head.types}),
                    separator=head.delimiter,
                )
            except pl.exceptions.PolarsError:
                continue
            if table.height == rows and (b'"' not in text or not sum(table.null_count().row(0))):
                return table.rechunk(), ()
    return _line_by_line(text, head, label, first)


def _count(text: bytes, character: str) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(character)))


def _lines(text: bytes) -> int:
    return _count(text, "\n") + (not text.endswith(b"\n"))


def _line_by_line(text: bytes, head: CsvHead, label: str, first: int) -> tuple[pl.DataFrame, Sequence[int]]:
    rows: list[list[str | None]] = []
    malformed = []
    for i, line in enumerate(text.splitlines()):
        try:
            decoded = line.decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{label}, line {first + i}: the bytes are no UTF-8 text. Store the file as UTF-8."
            ) from None
        if not decoded.strip():
            continue
        fields: list[str | None] = list(next(csv.reader([decoded], delimiter=head.delimiter)))
        if len(fields) != len(head.names):
            malformed.append(len(rows))
            fields = (fields + [None] * len(head.names))[: len(head.names)]
        rows.append([field or None for field in fields])
    columns = dict(zip(head.names, map(list, zip(*rows))))
    return pl.DataFrame({name: pl.Series(columns[name], dtype=pl.String) for name in head.types}), malformed


def _line_finder(text: bytes, first: int) -> Callable[[int], str]:
    def where(i: int) -> str:
        filled = [number for number, line in enumerate(text.splitlines()) if line.strip()]
        return f"line {first + filled[i]}"

    return where


def _type(role: str, sample: Sequence[str]) -> Any:
    known = [text for text in sample if text]
    if role in NUMBERS:
        return pl.Float64
    if role in _INTEGERS and known and all(map(_is_integer, known)):
        plain = role != "id" or not any(text.startswith(("0", "-")) and text != "0" for text in known)
        return pl.Int64 if plain else pl.String
    if role in ("time", "close_time", "recv", "available") and known and all(map(_is_number, known)):
        return pl.Float64
    return pl.String


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and int(text) < 1 << 63


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "infinity")
