"""Tables of funding rates to FUNDING rows."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from connectors.files.decode import BadRows, Decoded, Decoder, Meaning, Piece
from connectors.files.values import UNSAID, Integers, integers, truths
from events.errors import InputError
from events.frames import Array
from events.rows import FUNDING
from events.schema import MALFORMED, NEVER
from events.times import HOUR_NS, MINUTE_NS
from events.validation import first_faulty_funding

_NAMED: Final = re.compile(r"(?<![A-Za-z0-9])([1-9]\d?)h(?![A-Za-z0-9])")


class FundingDecoder(Decoder):
    """Decodes a file of funding rates, each settled at its time and available from then on; predicted ones are those that the
    file says are.

    Where the file does not say how many hours a rate is for, its name does (`-8h-`), else the spacing of most rows.
    """

    numbers = ("rate",)
    shown = ("rate", "interval_h")

    def __init__(self, meaning: Meaning, bad_rows: BadRows) -> None:
        super().__init__(meaning, bad_rows)
        self._interval_h: float | None = None

    def _rows(self, piece: Piece, times: Integers, received: Integers, bad_time: int) -> Decoded:
        (rate, interval_h, mark, index), flags = self._columns(piece, "rate", "interval_h", "mark", "index")
        if "interval_h" not in self._meaning.binding.columns and bad_time < 0:
            if self._interval_h is None:
                self._interval_h = self._found_interval(times)
            interval_h = np.full(len(times), self._interval_h)
        rows = np.zeros(len(times), FUNDING)
        rows["available_at"], rows["ts_event"] = self._available(piece, times), times
        rows["ts_recv"] = rows["available_at"]
        if received is not times:
            rows["ts_recv"] = np.where(received == NEVER, rows["available_at"], received)
        rows["seq"] = rows["ts_next"] = NEVER
        columns = self._meaning.binding.columns
        if "predicted" in columns:
            told = truths(piece.table[columns["predicted"]])
            rows["predicted"] = told == 1
            flags[told == UNSAID] |= MALFORMED
        if "ts_next" in columns:
            rows["ts_next"], _ = integers(piece.table[columns["ts_next"]])
        rows["rate"], rows["interval_h"], rows["mark"], rows["index"] = rate, interval_h, mark, index
        rows["flags"] = flags
        keys = np.maximum(np.maximum.accumulate(rows["available_at"]), self._last_ns)
        found = first_faulty_funding(rows)
        return Decoded(rows, keys, -1 if found is None else found[0], uncounted=True)

    def _fault(self, row: Array) -> str | None:
        found = first_faulty_funding(row)
        return found and found[1]

    def _found_interval(self, times: Integers) -> float:
        name = _NAMED.search(self._meaning.name)
        if name is not None:
            return float(name[1])
        steps = np.abs(np.diff(times))
        minutes = np.rint(steps[steps > 0] / MINUTE_NS).astype(np.int64)  # venues settle some milliseconds late
        if not len(minutes) or not minutes.any():
            raise InputError(
                f"{self._meaning.label} does not say for how many hours its rates are. Add a column `interval_h`, or put "
                "the hours into the file's name, such as -8h-."
            )
        spacings, counts = np.unique(minutes[minutes > 0], return_counts=True)
        return float(spacings[np.argmax(counts)]) * MINUTE_NS / HOUR_NS
