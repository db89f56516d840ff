"""Tables of klines to OHLCV rows of one minute each."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from connectors.files.decode import BadRows, Decoded, Decoder, Meaning, Piece
from connectors.files.stamps import TimeColumn
from connectors.files.values import UNSAID, Integers, truths
from events.errors import InputError
from events.feeds import KLINE_NS
from events.frames import Array
from events.rows import OHLCV
from events.schema import MALFORMED, NEVER
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from events.validation import first_faulty_kline

_UNITS: Final = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS, "w": 7 * DAY_NS}
_NAMED: Final = re.compile(r"(?<![A-Za-z0-9])([1-9]\d{0,3})([smhdw])(?![A-Za-z0-9])")
_PRICES: Final = ("open", "high", "low", "close")
_ENOUGH: Final = 10
"""So many spacings tell the length better than the name of a file."""


class KlineDecoder(Decoder):
    """Decodes a file of klines. Times are those of the opens; a row is available at the close, a minute later."""

    numbers = (*_PRICES, "volume")
    shown = (*_PRICES, "volume", "quote_volume", "closed", "time")

    def __init__(self, meaning: Meaning, bad_rows: BadRows) -> None:
        super().__init__(meaning, bad_rows)
        self._length_ns: int | None = None

    def _rows(self, piece: Piece, times: Integers, received: Integers, bad_time: int) -> Decoded:
        columns = self._meaning.binding.columns
        if self._length_ns is None and bad_time < 0:
            self._length_ns = self._found_length(piece, times)
            if self._length_ns != KLINE_NS:
                raise InputError(
                    f"{self._meaning.label} holds klines of {span(self._length_ns)}. Bars are made of klines of 1m, longer "
                    "ones folded from them: fetch the 1m klines of the instrument, or leave the file out."
                )
        held, flags = self._columns(piece, *self.numbers, "quote_volume")
        rows = np.zeros(len(times), OHLCV)
        rows["ts_open"], rows["available_at"] = times, times + KLINE_NS
        rows["ts_recv"] = np.where(received == NEVER, rows["available_at"], received)
        if received is times:
            rows["ts_recv"] = rows["available_at"]
        rows["seq"], rows["closed"] = NEVER, 1
        for role, values in zip((*self.numbers, "quote_volume"), held):
            rows[role] = values
        if "closed" in columns:
            told = truths(piece.table[columns["closed"]])
            flags[told == UNSAID] |= MALFORMED
            rows["closed"] = told == 1
        rows["flags"] = flags
        keys = np.maximum(np.maximum.accumulate(rows["available_at"]), self._last_ns)
        found = first_faulty_kline(rows, KLINE_NS)
        return Decoded(rows, keys, -1 if found is None else found[0], uncounted=True)

    def _fault(self, row: Array) -> str | None:
        found = first_faulty_kline(row, KLINE_NS)
        return found and found[1]

    def _found_length(self, piece: Piece, times: Integers) -> int:
        """How long the klines are: as their own close times say, as most are spaced, or as the file's name says; else a minute."""
        columns = self._meaning.binding.columns
        if "close_time" in columns:
            closes, bad = TimeColumn(columns["close_time"], self._meaning.label).decode(
                piece.table[columns["close_time"]]
            )
            if bad < 0:
                return _rounded(int(np.median(closes - times)))
        steps = np.abs(np.diff(times))
        steps = steps[steps > 0]
        name = _NAMED.search(self._meaning.name)
        if len(steps) < _ENOUGH and name is not None:
            return int(name[1]) * _UNITS[name[2]]
        if not len(steps):
            return KLINE_NS
        spacings, counts = np.unique(steps, return_counts=True)
        common = int(np.gcd.reduce(spacings))
        most = int(spacings[np.argmax(counts)])
        return KLINE_NS if KLINE_NS in (common, most) else max(common, SECOND_NS)


def _rounded(span_ns: int) -> int:
    """A length of which the last unit is cut off, in whole seconds."""
    return -(-span_ns // SECOND_NS) * SECOND_NS


def span(length_ns: int) -> str:
    """A length as people write it.

    >>> span(5 * MINUTE_NS), span(DAY_NS), span(90 * SECOND_NS)
    ('5m', '1d', '90s')
    """
    unit = next(unit for unit in ("d", "h", "m", "s") if length_ns % _UNITS[unit] == 0 or unit == "s")
    return f"{length_ns // _UNITS[unit]}{unit}"
