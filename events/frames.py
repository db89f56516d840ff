"""Frames: rows of one stream of one instrument, and how far that stream is complete.

`rows` is a read-only numpy structured array of a dtype of `events.rows`, or a tuple of records (`events.records`) from
signals on. `watermark` (int64 ns) is exclusive: every row with `available_at < watermark` is out, and it never goes back.
Rows at or above it may be in a frame already. No rows and a newer watermark: a heartbeat.

`control` holds the control rows of the stream (`CONTROL`): statements about spans of it, which act as intervals, never by
their position among the rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from events.schema import MISSING, NEVER

Rows = Any
"""NDArray of a structured dtype, or a tuple of records."""
Array = NDArray[Any]

CONTROL = np.dtype(
    [
        (
            "available_at",
            "i8",
        ),  # where it stands in its stream; cores get it when the watermark is above this
        ("kind", "i8"),  # VOID, HOLE, COVERAGE, BEACON, END or LEAVE of events.schema
        ("since", "i8"),
        ("until", "i8"),
        ("reason", "i8"),  # of a HOLE: why; of a VOID: ABSENT or 0
        ("id_from", "i8"),  # of a HOLE: the missing ids, NEVER if unknown; of a VOID: see below
        ("id_to", "i8"),
    ]
)
"""VOID: joins do without the stream at any t in [since, until]; one of trades, and what follows from it, has the `id_hash` of its
instrument in `id_from`, since the steps of that instrument wait for them in any case, and where rows are rarer than its spans,
`id_to` is before what time no other row can come. HOLE: no row is known strictly between
`since` and `until`, though there may have been some. COVERAGE: the stream is complete from `since` on. BEACON: a heartbeat
without an audit took the watermark from `since` to `until`. END: a bounded run has handed out all rows. LEAVE: the
instrument leaves the universe, and this is the last that comes of the stream; each stream of the instrument says so, with a
watermark above it. Should the instrument join again, it begins anew."""


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


NO_CONTROL = _frozen(np.empty(0, CONTROL))
NO_ROWS = _frozen(np.empty(0, [("available_at", "i8")]))


class Frame(NamedTuple):
    """Rows of the stream `name` of `instrument` (`exchange:symbol`), with its exclusive watermark.

    `in_order` says that the rows are in canonical order; whoever says it has looked, so nobody looks again.
    """

    instrument: str
    name: str
    rows: Rows
    watermark: int
    control: Array = NO_CONTROL
    in_order: bool = False


def control(
    kind: int,
    available_at: int,
    since: int = NEVER,
    until: int = NEVER,
    reason: int = 0,
    id_from: int = NEVER,
    id_to: int = NEVER,
) -> Array:
    """One control row.

    >>> control(1, 5, 5, 9)["until"].item()
    9
    """
    return _frozen(np.array([(available_at, kind, since, until, reason, id_from, id_to)], CONTROL))


def concat(parts: list[Array]) -> Array:
    """Contiguous arrays of one dtype as one read-only array.

    `np.concatenate` copies structured rows field by field; joining their bytes is 16 times faster.
    """
    if len(parts) == 1:
        return parts[0]
    small = sum(map(len, parts)) <= 64 * len(parts)  # a buffer of structured rows costs more than copying a few of them
    return np.frombuffer(b"".join([part.tobytes() if small else part.data for part in parts]), parts[0].dtype)


def missing(dtype: np.dtype[Any]) -> Array:
    """One row that says: no value. NaN, the null integer, and status MISSING."""
    row = np.zeros(1, dtype)
    for name in dtype.names or ():
        base = dtype[name].base
        row[name] = (
            MISSING if name == "status" else np.nan if base.kind == "f" else NEVER if base == np.dtype("i8") else 0
        )
    return _frozen(row)
