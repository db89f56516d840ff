"""From a table with named columns to rows, in whole columns: what all kinds of files have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from connectors.files.instruments import check_instrument, no_instrument, split_symbol
from connectors.files.layouts import Binding
from connectors.files.stamps import TimeColumn
from connectors.files.values import Integers, numbers
from events.errors import InputError
from events.frames import Array
from events.schema import MALFORMED, NEVER

BadRows = Literal["refuse", "dead-letter"]

DEAD_LETTER_HINT: Final = (
    "Correct the row, or pass --bad-rows dead-letter to go on without such rows: they are counted, and listed by a "
    "backtest."
)


class Piece(NamedTuple):
    """Some rows of a file as a table, and how a message finds one of them.

    Attributes:
        table: the columns by their names in the file.
        where: row number or line of the row at a position, in words.
        bytes_done: how many bytes of the file have been read so far.
        malformed: positions of rows that have not as many fields as the file has columns.
    """

    table: pl.DataFrame
    where: Callable[[int], str]
    bytes_done: int
    malformed: Sequence[int] = ()


def row_from(first: int) -> Callable[[int], str]:
    """Words for the row at a position of a piece whose first row has this number.

    >>> row_from(11)(0)
    'row 11'
    """
    return lambda i: f"row {first + i}"


def line_of(numbers: Sequence[int]) -> Callable[[int], str]:
    """Words for the row at a position of a piece whose rows come from these lines.

    >>> line_of([2, 5])(1)
    'line 5'
    """
    return lambda i: f"line {numbers[i]}"


class Block(NamedTuple):
    """Rows of a file in the order of the file.

    Attributes:
        rows: of the type of their stream; `seq` is NEVER where the id gives none.
        keys: the largest `available_at` of the file up to each row.
        instruments: the instruments they are of.
        codes: which of the instruments each row is of; None: all of the only one.
        uncounted: whether a `seq` is NEVER.
        bytes_done: how many bytes of the file have been read so far.
    """

    rows: Array
    keys: Integers
    instruments: tuple[str, ...]
    codes: NDArray[np.intp] | None
    uncounted: bool
    bytes_done: int

    def cut(self, first: int, end: int) -> Block:
        """The rows from one position to another."""
        codes = None if self.codes is None else self.codes[first:end]
        return self._replace(rows=self.rows[first:end], keys=self.keys[first:end], codes=codes)


@dataclass(frozen=True)
class Meaning:
    """How a file is to be understood.

    Attributes:
        label: the file, as messages name it.
        name: its file name.
        binding: its layout and columns.
        given: the instrument that the user named.
        by_name: the instrument that the file's name says, with the exchange that the user named.
        exchange: the exchange that the user named.
        midnight_ns: the day from whose beginning times count, None for those since 1970.
        delay_ns: how long after its time a row is published, where the file does not say when it was available.
    """

    label: str
    name: str
    binding: Binding
    given: str | None
    by_name: str | None = None
    exchange: str | None = None
    midnight_ns: int | None = None
    delay_ns: int = 0

    @property
    def by_row(self) -> bool:
        """Whether the rows say of which instrument they are."""
        columns = self.binding.columns
        return "instrument" in columns or ("symbol" in columns and ("exchange" in columns or self.exchange is not None))


class Decoded(NamedTuple):
    """The rows of a piece before their instruments are known: their keys, the first that is refused by itself (-1: none is), and
    whether a `seq` is NEVER.
    """

    rows: Array
    keys: Integers
    bad_row: int
    uncounted: bool


class Decoder:
    """Decodes one file, piece by piece from its beginning; what its rows are, a subclass says.

    Attributes:
        numbers: the roles that have to be numbers.
        shown: the roles that a message about a row shows.
    """

    numbers: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def __init__(self, meaning: Meaning, bad_rows: BadRows) -> None:
        self._meaning, self._refuse = meaning, bad_rows == "refuse"
        columns = meaning.binding.columns
        self._time = TimeColumn(columns["time"], meaning.label, midnight_ns=meaning.midnight_ns)
        self._recv = TimeColumn(columns["recv"], meaning.label, nullable=True) if "recv" in columns else None
        told = columns.get("available")
        self._available_at = None if told is None else TimeColumn(told, meaning.label, nullable=True)
        self._symbol: str | None = None
        self._last_ns = NEVER

    def decode(self, piece: Piece) -> Block:
        """The rows of a piece.

        Raises:
            InputError: a time cannot be read; the instrument is none or another; or a bad row is refused.
        """
        table, columns = piece.table, self._meaning.binding.columns
        times, bad_time = self._time.decode(table[columns["time"]])
        received, bad_recv = times, -1
        if self._recv is not None:
            received, bad_recv = self._recv.decode(table[columns["recv"]])
        decoded = self._rows(piece, times, received, bad_time)
        self._check(piece, decoded.rows, decoded.bad_row if self._refuse else -1, bad_time, bad_recv)
        self._last_ns = int(decoded.keys[-1])
        instruments, codes = self._instruments(piece)
        return Block(decoded.rows, decoded.keys, instruments, codes, decoded.uncounted, piece.bytes_done)

    def _rows(self, piece: Piece, times: Integers, received: Integers, bad_time: int) -> Decoded:
        raise NotImplementedError

    def _fault(self, row: Array) -> str | None:
        """Why this row is refused by itself."""
        raise NotImplementedError

    def _columns(self, piece: Piece, *roles: str) -> tuple[list[Array], NDArray[np.uint32]]:
        """The numbers of these roles, NaN where the file has no such column, and MALFORMED where a required one is none."""
        columns, flags, found = self._meaning.binding.columns, np.zeros(piece.table.height, np.uint32), []
        for role in roles:
            if role not in columns:
                found.append(np.full(piece.table.height, np.nan))
                continue
            values, bad = numbers(piece.table[columns[role]])
            found.append(values)
            if bad is not None and role in self.numbers:
                flags[bad] |= MALFORMED
        flags[list(piece.malformed)] |= MALFORMED
        return found, flags

    def _available(self, piece: Piece, times: Integers) -> Integers:
        """When rows may be used: as the file says, else at their times and the delay of the publication."""
        delayed = times + self._meaning.delay_ns
        if self._available_at is None:
            return delayed
        told, _ = self._available_at.decode(piece.table[self._meaning.binding.columns["available"]])
        return np.where(told == NEVER, delayed, told)

    def _check(self, piece: Piece, rows: Array, bad_row: int, bad_time: int, bad_recv: int) -> None:
        columns = self._meaning.binding.columns
        stamps = [(i, self._time, "time") for i in (bad_time,) if i >= 0]
        stamps += [(i, self._recv, "recv") for i in (bad_recv,) if i >= 0 and self._recv is not None]
        for i, column, role in sorted(stamps, key=lambda stamp: stamp[0])[:1]:
            if bad_row < 0 or i <= bad_row:
                value = piece.table[columns[role]][i]
                raise InputError(f"{self._meaning.label}, {piece.where(i)}: {column.explain(value)}.")
        reason = self._fault(rows[bad_row : bad_row + 1]) if bad_row >= 0 else None
        if reason is not None:
            why = self._why(piece, bad_row, reason)
            raise InputError(f"{self._meaning.label}, {piece.where(bad_row)}: {why}. {DEAD_LETTER_HINT}")

    def _why(self, piece: Piece, i: int, reason: str) -> str:
        columns = self._meaning.binding.columns
        if i in piece.malformed:
            return f"{reason}, the row has not as many fields as the file has columns"
        held = {role: piece.table[columns[role]][i] for role in self.shown if role in columns}
        if reason == "MALFORMED":
            for role in self.numbers:
                if numbers(piece.table[columns[role]][i : i + 1])[1] is not None:
                    return f"{reason}, {role} {_no_number(held[role])}"
        return f"{reason}, the row has " + ", ".join(f"{columns[role]} {value!r}" for role, value in held.items())

    def _instruments(self, piece: Piece) -> tuple[tuple[str, ...], NDArray[np.intp] | None]:
        meaning, table = self._meaning, piece.table
        columns = meaning.binding.columns
        if "instrument" in columns:
            names = table[columns["instrument"]].cast(pl.String)
        elif "symbol" in columns and "exchange" in columns:
            names = table[columns["exchange"]].cast(pl.String) + ":" + table[columns["symbol"]].cast(pl.String)
        elif "symbol" in columns and meaning.exchange is not None:
            names = self._of_exchange(piece, table[columns["symbol"]].cast(pl.String), meaning.exchange)
        else:
            if "symbol" in columns:
                self._one_symbol(piece, table[columns["symbol"]].cast(pl.String))
            only = meaning.given or meaning.by_name
            if only is None:
                raise no_instrument(meaning.label, meaning.name, self._symbol, meaning.exchange)
            return (only,), None
        found = names.unique(maintain_order=True).to_list()
        for name in found:
            where = f"{meaning.label}, {piece.where(_first(names, name))}"
            if meaning.given is not None and name != meaning.given:
                raise InputError(
                    f"{where}: the row is of {name!r}, not of --instrument {meaning.given}. Leave --instrument "
                    "out: the file says itself which instruments it holds."
                )
            check_instrument(name or "", where)
            if meaning.exchange is not None and not name.startswith(f"{meaning.exchange}:"):
                raise InputError(
                    f"{where}: the row is of {name!r}, not of --exchange {meaning.exchange}. Leave --exchange out: the "
                    "file says itself which instruments it holds."
                )
        if len(found) == 1:
            return (found[0],), None
        codes = names.replace_strict(found, list(range(len(found))), return_dtype=pl.Int64).to_numpy()
        return tuple(found), codes

    def _of_exchange(self, piece: Piece, symbols: pl.Series, exchange: str) -> pl.Series:
        """The instruments of symbols of this exchange, unified (BTC/USDT:USDT) or without a separator (BTCUSDT)."""
        found = symbols.unique(maintain_order=True).to_list()
        pairs = [symbol if symbol and "/" in symbol else split_symbol((symbol or "").upper()) for symbol in found]
        for symbol, pair in zip(found, pairs):
            if pair is None:
                raise InputError(
                    f"{self._meaning.label}, {piece.where(_first(symbols, symbol))}: the symbol {symbol!r} ends in no known "
                    "quote currency. Write it as BASE/QUOTE, or name the instrument with --instrument exchange:BASE/QUOTE."
                )
        return symbols.replace_strict(found, [f"{exchange}:{pair}" for pair in pairs], return_dtype=pl.String)

    def _one_symbol(self, piece: Piece, symbols: pl.Series) -> None:
        """Check that a file which names no exchange holds one symbol, and the one of `--instrument`."""
        for symbol in symbols.unique(maintain_order=True).to_list():
            if self._symbol is None:
                self._symbol = symbol
                given = self._meaning.given
                if given is not None and "/" in (symbol or "") and given.split(":", 1)[1] != symbol:
                    raise InputError(f"{self._meaning.label}: its rows are of {symbol!r}, not of --instrument {given}.")
            if symbol != self._symbol:
                where = piece.where(_first(symbols, symbol))
                raise InputError(
                    f"{self._meaning.label}, {where}: the file holds several symbols ({self._symbol!r}, {symbol!r}) and names "
                    "no exchange, so --instrument cannot say what they are. Name the exchange with --exchange, add a "
                    "column `instrument` (exchange:BASE/QUOTE), or split the file by symbol."
                )


def _no_number(value: object) -> str:
    """What is wrong with a value that is no number.

    >>> _no_number("n/a"), _no_number("1,5"), _no_number(None)
    ("'n/a' is not a number", "'1,5' is not a number: write decimals with a point", 'is empty')
    """
    if value is None:
        return "is empty"
    comma = isinstance(value, str) and re.fullmatch(r"\s*-?\d+,\d+\s*", value) is not None
    return f"{value!r} is not a number" + (": write decimals with a point" if comma else "")


def _first(column: pl.Series, value: str | None) -> int:
    found = column.eq_missing(value).arg_max()
    return found or 0
