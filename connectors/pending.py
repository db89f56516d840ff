"""What sinks share: the ordinals of rows, and rows that wait to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import numpy as np

from events.errors import RunError
from events.frames import Array, Frame, Rows, concat
from events.streams import Columns, Records, Stream, is_digested

OrdinalState = tuple[tuple[str, tuple[tuple[str, tuple[int, int]], ...]], ...]
"""(stream, ((key, (last ts, rows of it)), ...)) of every stream."""

BUFFER_BYTES: Final = 64 << 20
"""Rows of all streams that wait in memory at most."""
_RECORD_BYTES: Final = 4_096  # of a record in memory, roughly: a signal with its components


def times_of(stream: Stream, rows: Rows) -> Array:
    """The time (int64 ns) of every row: `available_at` of a row, `ts` of a record."""
    times: Array
    if isinstance(stream, Columns):
        times = rows["available_at"]
    else:
        times = np.fromiter((record.ts for record in rows), np.int64, len(rows))
    return times


class Ordinals:
    """Counts earlier rows of the same key, stream and time; remembers one time and one count per key and stream.

    >>> from events.rows import GAP_ROW
    >>> rows = np.zeros(3, GAP_ROW)
    >>> rows["available_at"] = 5, 5, 7
    >>> Ordinals().of(Columns("gaps", GAP_ROW), "binance:BTC/USDT", rows)
    array([0, 1, 0])
    """

    def __init__(self, state: OrdinalState = ()) -> None:
        self._last: dict[str, dict[str, tuple[int, int]]] = {stream: dict(keys) for stream, keys in state}

    def of(self, stream: Stream, key: str, rows: Rows) -> Array:
        """The ordinals (int64) of rows that follow those of the calls before.

        Raises:
            RunError: times go back, so that (time, ordinal) would not be an order. Record streams by which
                runs are not compared may go back: late rows are refused late.
        """
        times = times_of(stream, rows)
        if not len(times):
            return np.empty(0, np.int64)
        last = self._last.setdefault(stream.name, {})
        last_time, last_count = last.get(key, (int(times[0]) - 1, 0))
        steps = np.diff(times)
        ordered = isinstance(stream, Columns) or is_digested(stream.name)
        if ordered and (times[0] < last_time or (steps < 0).any()):
            raise RunError(
                f"Rows of stream {stream.name} of {key} went back in time, after {last_time} ns: this is a bug in the step that"
                " made them; please report it with the command and the settings."
            )
        starts = np.flatnonzero(steps) + 1
        if times[0] != last_time and len(starts) == len(times) - 1:
            ordinals = np.zeros(len(times), np.int64)
        else:
            first_of_run = np.zeros(len(times), np.int64)
            first_of_run[starts] = starts
            ordinals = np.arange(len(times)) - np.maximum.accumulate(first_of_run)
            if times[0] == last_time:
                ordinals[: starts[0] if len(starts) else len(times)] += last_count
        last[key] = (int(times[-1]), int(ordinals[-1]) + 1)
        return ordinals

    def snapshot(self) -> OrdinalState:
        """The memory as immutable data, for the recovery state of a sink."""
        return tuple((stream, tuple(keys.items())) for stream, keys in self._last.items())


class Pending:
    """Rows that wait to be written, by stream and key, in order of arrival within each.

    `rows` and `bytes` tell how much waits. Frames without rows, and of streams not in the mapping, are left
    out.
    """

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams
        self._parts: dict[tuple[str, str], list[Rows]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self.rows, self.bytes = 0, 0

    def add(self, frame: Frame) -> int:
        """Take the rows of a frame; how many of its stream and key wait now."""
        if not len(frame.rows) or frame.name not in self._streams:
            return 0
        at = (frame.name, frame.instrument)
        self._parts.setdefault(at, []).append(frame.rows)
        self._counts[at] = self._counts.get(at, 0) + len(frame.rows)
        self.rows += len(frame.rows)
        self.bytes += _size(frame.rows)
        return self._counts[at]

    def take(self, name: str, key: str) -> Any:
        """The rows of one stream and key, which wait no more."""
        parts = self._parts.pop((name, key))
        self.rows -= self._counts.pop((name, key))
        self.bytes -= sum(map(_size, parts))
        stream = self._streams[name]
        if isinstance(stream, Records):
            return tuple(record for part in parts for record in part)
        return concat(parts)

    def take_all(self) -> Iterator[tuple[Stream, list[tuple[str, Any]]]]:
        """Everything that waits: each stream, with the rows of each key; both sorted."""
        for name, waiting in groupby(sorted(self._parts), key=itemgetter(0)):
            yield self._streams[name], [(key, self.take(name, key)) for _, key in waiting]


def _size(rows: Rows) -> int:
    return rows.nbytes if isinstance(rows, np.ndarray) else len(rows) * _RECORD_BYTES
