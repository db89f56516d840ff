"""Columns of times to nanoseconds: integer or float of one unit, datetimes, ISO 8601 text."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.files.layouts import snake
from events.errors import InputError
from events.schema import NEVER
from events.times import DAY_NS, SECOND_NS

UNITS_NS: Final = {"s": SECOND_NS, "ms": 1_000_000, "us": 1_000, "ns": 1}
FIRST_NS: Final = 1_230_768_000 * SECOND_NS
"""2009-01-01."""
END_NS: Final = 4_102_444_800 * SECOND_NS
"""2100-01-01."""

Stamps = NDArray[np.int64]


def unit_of(value: float) -> str | None:
    """The unit in which this is a time between 2009 and 2100; None if there is none.

    >>> unit_of(1_700_000_000), unit_of(1_700_000_000_000), unit_of(17)
    ('s', 'ms', None)
    """
    return next((unit for unit, ns in UNITS_NS.items() if FIRST_NS // ns <= value < END_NS // ns), None)


def named_unit(column: str) -> str | None:
    """The unit that the name of a column claims.

    >>> named_unit("unix_timestamp_ms"), named_unit("ts_event"), named_unit("time")
    ('ms', 'ns', None)
    """
    name = snake(column)
    if name in ("ts_event", "ts_recv"):
        return "ns"
    return next((unit for unit in UNITS_NS if name.endswith(f"_{unit}")), None)


class TimeColumn:
    """One column of times of one file, fed in blocks; the first value decides the unit of all.

    With `midnight_ns`, values are milliseconds since then.

    Attributes:
        unit: s, ms, us or ns, None before the first number.
    """

    def __init__(self, column: str, label: str, nullable: bool = False, midnight_ns: int | None = None) -> None:
        self._column, self._label, self._nullable, self._midnight_ns = column, label, nullable, midnight_ns
        self.unit: str | None = None

    def decode(self, values: pl.Series) -> tuple[Stamps, int]:
        """The times in ns, NEVER for null, and the position of the first that cannot be read, -1 if all can."""
        kind = values.dtype
        if self._midnight_ns is not None:
            of_day = _filled(values.cast(pl.Int64, strict=False)) * 1_000_000
            return self._checked(np.where((of_day < 0) | (of_day >= DAY_NS), NEVER, of_day + self._midnight_ns), "ns")
        if isinstance(kind, pl.Datetime):
            stamps = values.cast(pl.Datetime("ns", kind.time_zone)).to_physical()
            return self._checked(_filled(stamps), "ns")
        if kind.is_integer():
            return self._numbers(_filled(values.cast(pl.Int64, strict=False)))
        if kind.is_float():
            return self._floats(values.cast(pl.Float64).to_numpy())
        if kind == pl.String:
            return self._texts(values.str.strip_chars())
        if kind == pl.Null:
            return self._checked(np.full(len(values), NEVER), "ns")
        raise InputError(
            f"{self._label}: column {self._column!r} is of type {kind}, not a time. Store times as integers (s, ms, us "
            "or ns since 1970, UTC), as datetimes or as ISO 8601 text."
        )

    def explain(self, value: object) -> str:
        """Why this value of the column is no time, and what to do."""
        if self._midnight_ns is not None:
            return f"{self._column} {value!r} is no number of milliseconds since midnight. Correct or remove the row"
        if self.unit is None and isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
            return (
                f"{self._column} {value!r} is not a time. Write times as 2025-06-21 12:00:00 (UTC, or with a zone such as +02:00), "
                "date and time in one column, or as integers since 1970 in s, ms, us or ns: correct the row, or convert the column"
            )
        unit = f" in {self.unit}, the unit of the first row" if self.unit else " in s, ms, us or ns"
        return (
            f"{self._column} {value!r} is not a time between 2009 and 2100{unit}. Every row needs one, and all times "
            "of a file must be of one unit: correct or remove the row, or split the file by unit"
        )

    def _checked(self, stamps: Stamps, unit: str) -> tuple[Stamps, int]:
        """Times given in `unit` as ns, and the first out of range."""
        scale = UNITS_NS[unit]
        low, end = FIRST_NS // scale, END_NS // scale
        bad = -1
        if len(stamps) and not (int(np.min(stamps)) >= low and int(np.max(stamps)) < end):
            wrong = (stamps < low) | (stamps >= end)
            if self._nullable:
                wrong &= stamps != NEVER
            bad = int(np.argmax(wrong)) if wrong.any() else -1
        if scale == 1:
            return stamps, bad
        with np.errstate(over="ignore"):
            scaled: Stamps = stamps * scale
        scaled[stamps == NEVER] = NEVER
        return scaled, bad

    def _decide(self, value: float) -> None:
        """Take the unit of the file from its first value.

        Raises:
            InputError: the name of the column claims another unit.
        """
        self.unit, claimed = unit_of(value), named_unit(self._column)
        if self.unit is not None and claimed is not None and claimed != self.unit:
            raise InputError(
                f"{self._label}: column {self._column!r} says by its name that it holds {claimed}, but its first value "
                f"{value:.0f} is a time in {self.unit}. Rename the column or convert its values."
            )

    def _numbers(self, values: Stamps) -> tuple[Stamps, int]:
        if self.unit is None:
            known = values if not self._nullable else values[values != NEVER]
            if len(known):
                self._decide(int(known[0]))
        if self.unit is None:
            return np.full(len(values), NEVER), -1 if self._nullable and bool((values == NEVER).all()) else 0
        return self._checked(values, self.unit)

    def _floats(self, values: NDArray[np.float64]) -> tuple[Stamps, int]:
        finite = np.isfinite(values) & (np.abs(values) < 2.0**62)
        if self.unit is None and finite.any():
            self._decide(float(values[int(np.argmax(finite))]))
        if self.unit is None:
            return np.full(len(values), NEVER), -1 if self._nullable and not finite.any() else 0
        ns = UNITS_NS[self.unit]
        factor = max(1, ns // 1_000)  # a float of seconds since 1970 is good to the microsecond, so that is the grid
        units = np.full(len(values), NEVER)
        units[finite] = np.rint(values[finite] * factor).astype(np.int64)
        return self._checked(units, "us" if ns >= 1_000 else "ns")

    def _texts(self, values: pl.Series) -> tuple[Stamps, int]:
        integers = values.cast(pl.Int64, strict=False)
        if integers.null_count() == values.null_count():
            return self._numbers(_filled(integers))
        floats = values.cast(pl.Float64, strict=False)
        if floats.null_count() < len(values):
            return self._floats(floats.to_numpy())
        stamps = _iso(values)
        return self._checked(stamps, "ns")


def _filled(values: pl.Series) -> Stamps:
    return (values.fill_null(NEVER) if values.null_count() else values).to_numpy()


def _iso(values: pl.Series) -> Stamps:
    """ISO 8601 texts in ns, NEVER where one cannot be read; without a zone they are UTC."""
    texts = values.to_arrow().cast(pa.string())
    for zone in ("UTC", None):
        try:
            parsed = pc.cast(texts, pa.timestamp("ns", zone))
        except pa.ArrowInvalid:
            continue
        stamps: Stamps = parsed.cast(pa.int64()).fill_null(NEVER).to_numpy(zero_copy_only=False)
        return stamps
    return np.array([_iso_one(text) for text in values.to_list()], np.int64)


def _iso_one(text: str | None) -> int:
    try:
        moment = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return NEVER
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000
