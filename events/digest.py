"""Digests: SHA-256 per (instrument, stream, UTC day) over what a sink holds, the currency of `tidewax verify`."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from events.frames import Array
from events.schema import SCHEMA_VERSION
from events.streams import Columns
from events.times import DAY_NS, day_name

if TYPE_CHECKING:
    from hashlib import _Hash


class Digests:
    """Digests of one stream of one instrument, fed in (ts, ordinal) order in pieces of any size.

    >>> Digests("updates").add_records([0], ['{"price":100.5,"r_net":null,"seq":0,"to":"ACTIVE"}']).by_day()
    {'1970-01-01': '3bcdf4d41de6f003248615de58b001abb16aafc1b90b2dc8d4c9c3c19345cabd'}
    """

    def __init__(self, name: str, columns: Columns | None = None) -> None:
        self.columns = columns
        names = "json" if columns is None else ",".join(columns.packed.names or ())
        self._header = f"{name}|{SCHEMA_VERSION}|{names}\n".encode()
        self._days: dict[int, _Hash] = {}

    def _hash(self, day: int) -> _Hash:
        if day not in self._days:
            self._days[day] = hashlib.sha256(self._header)
        return self._days[day]

    def add_rows(self, rows: Array) -> Digests:
        """Feed rows of a column stream."""
        if self.columns is None:
            raise TypeError("a record stream takes add_records")
        return self.add_packed(self.columns.pack(rows))

    def add_packed(self, packed: Array) -> Digests:
        """Feed rows of a column stream as `Columns.pack` makes them, or files hold them."""
        days = packed["ts_close" if "ts_close" in (packed.dtype.names or ()) else "ts"] // DAY_NS
        cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(packed)]
        for first, end in pairwise(cuts):
            if end > first:
                self._hash(int(days[first])).update(packed[first:end].tobytes())
        return self

    def add_records(self, ts: list[int], canonical: list[str]) -> Digests:
        """Feed records as canonical JSON, with their times."""
        for at, text in zip(ts, canonical):
            self._hash(at // DAY_NS).update(text.encode() + b"\n")
        return self

    def by_day(self) -> dict[str, str]:
        """The digests so far, by UTC day."""
        return {day_name(day * DAY_NS): digest.hexdigest() for day, digest in sorted(self._days.items())}
