"""Rows as JSON, one a message, in the unified names of ccxt where it has one, else in those of the columns.

What JSON can say comes back bit for bit: numbers by their shortest digits, NaN and the null integer as null, times in
milliseconds with the nanoseconds left over beside them. A row that holds more, such as an infinite price of a record that the
source could not decode, has its bytes in `row` (base64) as well, and they decide.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from connectors.kafka.undecodable import Undecodable
from events.feeds import CHECKS, FEEDS, KLINES, LIQUIDATIONS, OPEN_INTEREST, PRELOAD, RATES, TICKERS, TOPS
from events.frames import Array
from events.schema import NEVER
from events.streams import Columns

MS_NS: Final = 1_000_000
_MOST_MS: Final = 2**63 // MS_NS - 1
_NAN: Final = np.float64(np.nan).view(np.int64)

_KLINE: Final = {"ts_open": "timestamp", "quote_volume": "quoteVolume"}
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    LIQUIDATIONS: {"qty": "amount"},
    TOPS: {"bid_qty": "bidVolume", "ask_qty": "askVolume"},
    TICKERS: {
        "high_24h": "high",
        "low_24h": "low",
        "volume_24h": "baseVolume",
        "quote_volume_24h": "quoteVolume",
        "mark": "markPrice",
        "index": "indexPrice",
    },
    RATES: {"rate": "fundingRate", "mark": "markPrice", "index": "indexPrice"},
    OPEN_INTEREST: {"oi_base": "openInterestAmount", "oi_usd": "openInterestValue"},
    KLINES: _KLINE,
    PRELOAD: _KLINE,
    CHECKS: _KLINE,
}
"""Names of ccxt in place of those of columns, by stream; `timestamp` is in place of `available_at` where no other column is."""


_TYPES: Final[Mapping[str, Any]] = {"f": float | None, "S": str}
"""What columns are in objects; integers, if it does not say."""


class _Field(NamedTuple):
    """A column as one value of an object: its name there, the column, and its place in a block of columns."""

    name: str
    column: str
    place: int | None

    def of(self, rows: Array) -> Array:
        """The column."""
        return rows[self.column] if self.place is None else rows[self.column][:, self.place]


class JsonRows:
    """Rows of one stream.

    >>> from events.rows import GAP_ROW
    >>> wire, rows = JsonRows(Columns("gaps", GAP_ROW)), np.array([(60, 0, NEVER, 4, NEVER, NEVER)], GAP_ROW)
    >>> [(value, _)] = wire.encode("x:A/B", rows)
    >>> value
    b'{"key":"x:A/B","ts":60,"since":0,"until":null,"reason":4,"id_from":null,"id_to":null}'
    >>> wire.decode([value])[0].tobytes() == rows.tobytes()
    True
    """

    def __init__(self, columns: Columns) -> None:
        self.columns, self.market = columns, columns.name in FEEDS
        names = _NAMES.get(columns.name, {})
        if self.market and "timestamp" not in names.values():
            names = {**names, "available_at": "timestamp"}
        if self.market:
            fields = [_Field(names.get(name, name), name, None) for name in columns.dtype.names or ()]
            fields.sort(key=lambda field: (field.name != "timestamp", field.column == "flags"))
        else:
            fields = [_Field(*field) for field in columns.flat]
        self._fields = fields
        kinds: list[Any] = [
            (f"f{i}", _TYPES.get(field.of(np.empty(0, columns.dtype)).dtype.kind, int | None))
            for i, field in enumerate(fields)
        ]
        if fields[-1].name == "flags":
            kinds[-1] = (*kinds[-1], 0)
        rename = {"key": "symbol" if self.market else "key", **{f"f{i}": field.name for i, field in enumerate(fields)}}
        self._struct = msgspec.defstruct(
            "Row",
            [("key", str), *kinds, ("ns", int, 0), ("row", str | None, None)],
            rename=rename,
            omit_defaults=True,
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(self._struct)

    def encode(self, instrument: str, rows: Array) -> list[tuple[bytes, int]]:
        """A value for each row, with its number of rows, 1."""
        said: list[list[Any]] = [[symbol_of(instrument) if self.market else instrument] * len(rows)]
        rest = [0] * len(rows)
        for field in self._fields:
            column = field.of(rows)
            if field.name == "timestamp":
                column, rest = column // MS_NS, (column % MS_NS).tolist()
            said.append(plain(column))
        odd = inexact(rows)
        if not self.market and "ts_close" in (rows.dtype.names or ()):
            odd |= rows["available_at"] != rows["ts_close"]
        return encoded(self._struct, [*said, rest], rows, odd)

    def decode(self, values: Sequence[bytes]) -> tuple[Array, list[int]]:
        """The rows of these values, and how many each has: 1.

        Raises:
            Undecodable: a value is something else.
        """
        objects = decoded(self._decoder, values, self.columns.name)
        meant = list(zip(*map(msgspec.structs.astuple, objects)))
        rows = np.empty(len(objects), self.columns.dtype)
        try:
            for field, column in zip(self._fields, meant[1:]):
                field.of(rows)[:] = numbers(column, field.of(rows).dtype)
                if field.name == "timestamp":
                    field.of(rows)[:] = times(column, meant[-2])
        except (ValueError, OverflowError) as error:
            raise Undecodable(f"it holds a number out of range: {error}") from error
        if not self.market:
            names = rows.dtype.names or ()
            rows["available_at"] = rows["ts_close" if "ts_close" in names else "available_at"]
        return overridden(rows, meant[-1]), [1] * len(rows)


def symbol_of(instrument: str) -> str:
    """The symbol of an instrument, which is how ccxt names it."""
    return instrument.partition(":")[2] or instrument


def plain(column: Array) -> list[Any]:
    """The values of a column; None for NaN and the null integer."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "S":
        return [value.decode(errors="replace") for value in values]
    if column.dtype.kind == "f":
        return [None if value != value else value for value in values] if np.isnan(column).any() else values  # noqa: PLR0124
    if column.dtype == np.dtype("i8") and (column == NEVER).any():
        return [None if value == NEVER else value for value in values]
    return values


def numbers(values: Sequence[Any], kind: np.dtype[Any]) -> Array:
    """The column of which `plain` made these values.

    Raises:
        ValueError, OverflowError: one is out of range.
    """
    if kind.kind == "S":
        texts = [value.encode() for value in values]
        if max(map(len, texts), default=0) > kind.itemsize:
            raise ValueError("too long")
        return np.array(texts, kind)
    if kind.kind != "f" and None in values:
        if kind != np.dtype("i8"):
            raise ValueError("null")
        values = [NEVER if value is None else value for value in values]
    return np.array(values, kind)  # None is NaN in an array of floats


def times(ms: Sequence[int | None], ns: Sequence[int]) -> Array:
    """Times (int64 ns) of milliseconds, and the nanoseconds left over of each.

    Raises:
        ValueError, OverflowError: one is null, or out of range.
    """
    if None in ms:
        raise ValueError("no timestamp")
    whole = np.array(ms, np.int64)
    if len(whole) and whole.min() > -_MOST_MS and whole.max() < _MOST_MS:
        return whole * MS_NS + np.array(ns, np.int64)
    return np.array([one * MS_NS + rest for one, rest in zip(whole.tolist(), ns)], np.int64)


def encoded(struct: Any, said: Sequence[Sequence[Any]], rows: Array, odd: Array) -> list[tuple[bytes, int]]:
    """Objects as values; `said` has the values of each field but the last, `row`, which those that are `odd` have too."""
    encode, objects = msgspec.json.Encoder().encode, list(map(struct, *said))
    for i in np.flatnonzero(odd).tolist():
        objects[i].row = as_text(rows[i : i + 1])
    return [(encode(one), 1) for one in objects]


def decoded(decoder: Any, values: Sequence[bytes], stream: str) -> list[Any]:
    """The objects of values, one each.

    Raises:
        Undecodable: a value is something else.
    """
    try:
        objects: list[Any] = decoder.decode_lines(b"\n".join(values))
        if len(objects) != len(values):  # some have line ends
            objects = [decoder.decode(value) for value in values]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            objects = [decoder.decode(value) for value in values]
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Undecodable(f"it is no JSON of stream {stream}: {error}") from error
    return objects


def inexact(rows: Array) -> Array:
    """Which rows have what JSON has no word for: a number that is infinite, or NaN of other bits than numpy's; bytes that are no
    text.
    """
    found = np.zeros(len(rows), bool)
    for name in rows.dtype.names or ():
        if rows.dtype[name].kind == "S":
            values = rows[name].tolist()
            found |= np.array([value.decode(errors="replace").encode() != value for value in values], bool)
        if rows.dtype[name].base.kind == "f":
            values = np.ascontiguousarray(rows[name])
            if not np.isfinite(values).all():
                odd = ~np.isfinite(values) & (values.view(np.int64) != _NAN)
                found |= odd if odd.ndim == 1 else odd.any(axis=1)
    return found


def as_text(rows: Array) -> str:
    """The bytes of rows."""
    return b64encode(rows.tobytes()).decode()


def from_text(text: str, dtype: np.dtype[Any]) -> Array:
    """The rows of which `as_text` is this.

    Raises:
        Undecodable: they are other rows.
    """
    try:
        return np.frombuffer(b64decode(text, validate=True), dtype)
    except ValueError as error:
        raise Undecodable(f"its bytes of rows are not whole: {error}") from error


def overridden(rows: Array, texts: Sequence[str | None]) -> Array:
    """Rows, those with a text by the text.

    Raises:
        Undecodable: a text is of other rows.
    """
    if any(text is not None for text in texts):
        for i, text in enumerate(texts):
            if text is not None:
                one = from_text(text, rows.dtype)
                if len(one) != 1:
                    raise Undecodable("its bytes of a row are of several")
                rows[i] = one[0]
    return rows
