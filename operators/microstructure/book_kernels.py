"""Kernels of a maintained book: updates into levels, flows and time-weighted means, and these into rows of minutes.

Sums run in the order of the updates. A state of the book is weighed when it ends or its minute does, at no other time, so it
does not matter how the rows were cut, and an update that changes nothing changes nothing.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import BOOK_SNAPSHOT, BUFFERING, NEVER, STALE, SYNCED
from events.times import MINUTE_NS, SECOND_NS
from operators.maths import kernel
from operators.microstructure.columns import LASTS, MEANS, OFI_LEVELS
from operators.microstructure.levels import UNTOUCHED, set_level
from operators.microstructure.shape import lasts, shape

AGE_NS: Final = 30 * SECOND_NS
"""A book whose last update is older is STALE for output."""

STATE: Final = np.dtype(
    [
        ("state", "i8"),
        ("u", "i8"),  # the last update id, NEVER if unknown
        ("fresh", "i8"),  # 1: the last update was a snapshot
        ("n_bids", "i8"),
        ("n_asks", "i8"),
        ("sided", "i8"),  # 1: both sides had levels after the last update
        ("now", "i8"),  # when the last update took effect, or a void ends
        ("updated", "i8"),  # the time of the last update itself
        ("since", "i8"),  # the means hold the time before this
        ("resume", "i8"),  # where the last void ends; nothing is known before
        ("begun", "i8"),  # 1: there are quotes to compare the next with
        ("shaped", "i8"),  # 1: the shape is that of the book as it is
        ("close", "i8"),  # end of the open minute, NEVER if there is none yet
        ("updates", "i8"),  # of the open minute, as are the next two
        ("synced", "i8"),
        ("voided", "i8"),
        ("broken_u", "i8"),  # of a book that broke: the last update id and the time before it did
        ("broken_at", "i8"),
    ]
)

DONE, WAITS, SYNCS, BREAKS, CROSSES = range(5)
"""Why `take` stops: no more rows; an update that waits for a snapshot; a snapshot was taken into a book that was not SYNCED; the
update before continues nothing, or leaves the best bid at or above the best ask.
"""

_N_MEANS: Final = len(MEANS)
_FIRST_LAST: Final = OFI_LEVELS + _N_MEANS
_N_LASTS: Final = len(LASTS)


def new_state() -> Array:
    """The state of a book of which nothing is known."""
    state = np.zeros(1, STATE)
    for field in ("u", "now", "updated", "since", "resume", "close", "broken_u", "broken_at"):
        state[field] = NEVER
    return state


@kernel
def _known(s: Any, to: int) -> tuple[int, int]:
    """The span before `to` in which the book as it is was known, not weighed yet; empty if its end is not above its start."""
    if s.state != SYNCED or not s.sided:
        return 0, 0
    return max(s.since, s.resume), min(to, s.updated + AGE_NS)


@kernel
def _weigh(s: Any, means: Array, sums: Array, to: int) -> None:
    """Weigh the shape by how long it lasted; it must be that of the book in this time."""
    start, end = _known(s, to)
    if end > start:
        for k in range(_N_MEANS):
            sums[OFI_LEVELS + k] += means[k] * (end - start)
        s.synced += end - start
    s.since = to


@kernel
def _look(s: Any, levels: Array, depth: int, cap_multiple: float, means: Array, to: int) -> None:
    """Find the shape of the book, if it lasted any time."""
    start, end = _known(s, to)
    if end > start and not s.shaped:
        shape(levels, s.n_bids, s.n_asks, depth, cap_multiple, means)
        s.shaped = 1


@kernel
def _open(s: Any, at: int) -> None:
    """Begin the minute of this time."""
    s.close = (at // MINUTE_NS + 1) * MINUTE_NS
    s.voided = s.resume > s.close - MINUTE_NS


@kernel
def _write(s: Any, levels: Array, depth: int, cap_multiple: float, sums: Array, row: Any) -> None:
    """The row of the open minute."""
    row.available_at, row.synced_ns, row.updates, row.voided = s.close, s.synced, s.updates, s.voided
    row.age_ns = s.close - s.updated if s.updated != NEVER else NEVER
    current = s.state == SYNCED and s.close - s.updated <= AGE_NS
    row.state = STALE if s.state == SYNCED and not current else s.state
    for k in range(OFI_LEVELS):
        row.values[k] = sums[k]
    for k in range(OFI_LEVELS, _FIRST_LAST):
        row.values[k] = sums[k] / s.synced if s.synced > 0 else math.nan
    for k in range(_FIRST_LAST, _FIRST_LAST + _N_LASTS):
        row.values[k] = math.nan
    if current and s.sided:
        lasts(levels, s.n_bids, s.n_asks, depth, cap_multiple, row.values[_FIRST_LAST:])


@kernel
def pass_time(
    state: Array, levels: Array, depth: int, cap_multiple: float, means: Array, sums: Array, to: int, out: Array, n: int
) -> int:
    """Close the minutes that end by `to`. Gives the rows in `out` now.

    A minute in which the book was not known and did not change has no row, nor has one that ends in a void.
    """
    s = state[0]
    while s.close != NEVER and s.close <= to:
        _look(s, levels, depth, cap_multiple, means, s.close)
        _weigh(s, means, sums, s.close)
        if s.resume <= s.close and (s.synced > 0 or s.updates > 0):
            _write(s, levels, depth, cap_multiple, sums, out[n])
            n += 1
        s.updates = s.synced = 0
        sums[:] = 0.0
        lasting = s.state == SYNCED and s.updated + AGE_NS > s.close
        _open(s, s.close if lasting else to)
    return n


@kernel
def begin_void(
    state: Array,
    levels: Array,
    depth: int,
    cap_multiple: float,
    means: Array,
    sums: Array,
    since: int,
    until: int,
    out: Array,
    n: int,
) -> int:
    """The book is not known in [since, until]. Gives the rows in `out` now."""
    s = state[0]
    n = pass_time(state, levels, depth, cap_multiple, means, sums, since, out, n)
    if s.close == NEVER:
        _open(s, since)
    _look(s, levels, depth, cap_multiple, means, since)
    _weigh(s, means, sums, since)
    s.resume = max(s.resume, until + 1)
    s.now = max(s.now, s.resume)
    s.voided, s.begun = 1, 0
    return n


@kernel
def _flow(s: Any, levels: Array, quotes: Array, sums: Array) -> None:
    """Add what the change of the best levels says of order flow, and remember them. An absent level has no size, at its last price.

    Source: file 04 section 2.
    """
    for m in range(OFI_LEVELS):
        flow = 0.0
        for side in range(2):
            n = s.n_asks if side else s.n_bids
            key_before, size_before = quotes[side, 0, m], quotes[side, 1, m]
            key, size = (levels[side, 0, n - 1 - m], levels[side, 1, n - 1 - m]) if m < n else (key_before, 0.0)
            change = 0.0
            if key >= key_before:
                change += size
            if key <= key_before:
                change -= size_before
            flow += -change if side else change
            quotes[side, 0, m], quotes[side, 1, m] = key, size
        sums[m] += flow


@kernel
def _remember(s: Any, levels: Array, quotes: Array) -> None:
    """The best levels as those that the next are compared with."""
    for side in range(2):
        n = s.n_asks if side else s.n_bids
        for m in range(OFI_LEVELS):
            quotes[side, 0, m] = levels[side, 0, n - 1 - m] if m < n else math.nan
            quotes[side, 1, m] = levels[side, 1, n - 1 - m] if m < n else 0.0


@kernel
def _continues(s: Any, u_first: int, u_last: int, u_prev: int) -> bool:
    """Whether an update that ends above the last id follows it; of an unknown id, any does.

    The first update after a snapshot must reach back to it, where others name the one before them.
    """
    if u_last == NEVER:
        return True
    if s.u == NEVER:
        return True
    if u_prev != NEVER:
        return bool(u_prev == s.u or (s.fresh and u_prev < s.u))
    return bool(u_first <= s.u + 1)


@kernel
def _drop(s: Any, at: int) -> None:
    """What is left of a book whose updates do not follow each other."""
    s.broken_u, s.broken_at = s.u, s.updated if s.updated != NEVER else at
    s.state, s.u, s.n_bids, s.n_asks, s.sided, s.shaped, s.begun = STALE, NEVER, 0, 0, 0, 0, 0


@kernel
def _replace(s: Any, rows: Array, start: int, end: int, levels: Array, depth: int, before: Array) -> int:
    """Make a snapshot the book. Gives the index from the best of what changed among the best `depth` levels, or UNTOUCHED."""
    n_bids_before, n_asks_before = s.n_bids, s.n_asks
    for side in range(2):
        n = n_asks_before if side else n_bids_before
        for k in range(min(n, depth)):
            before[side, 0, k], before[side, 1, k] = levels[side, 0, n - 1 - k], levels[side, 1, n - 1 - k]
    n_bids = n_asks = 0
    bids, bid_sizes, asks, ask_sizes = levels[0, 0], levels[0, 1], levels[1, 0], levels[1, 1]
    for i in range(end - 1, start - 1, -1):  # the worst come last, so each goes on top
        price, quantity, which = rows[i].price, rows[i].qty, rows[i].side
        if which > 0:
            n_bids, _ = set_level(bids, bid_sizes, n_bids, price, quantity)
        elif which < 0:
            n_asks, _ = set_level(asks, ask_sizes, n_asks, -price, quantity)
    s.n_bids, s.n_asks = n_bids, n_asks
    for k in range(depth):
        for side in range(2):
            n, n_before = (n_asks, n_asks_before) if side else (n_bids, n_bids_before)
            if (k < n) != (k < n_before):
                return k
            if k < n and (
                levels[side, 0, n - 1 - k] != before[side, 0, k] or levels[side, 1, n - 1 - k] != before[side, 1, k]
            ):
                return k
    return UNTOUCHED


@kernel
def _change(s: Any, rows: Array, start: int, end: int, levels: Array) -> int:
    """Make the changes of an update. Gives the index from the best of the best level that changed, or UNTOUCHED."""
    bids, bid_sizes, asks, ask_sizes = levels[0, 0], levels[0, 1], levels[1, 0], levels[1, 1]
    n_bids, n_asks, touched = s.n_bids, s.n_asks, UNTOUCHED
    for i in range(start, end):
        price, quantity, which = rows[i].price, rows[i].qty, rows[i].side
        if which > 0:
            n_bids, k = set_level(bids, bid_sizes, n_bids, price, quantity)
        elif which < 0:
            n_asks, k = set_level(asks, ask_sizes, n_asks, -price, quantity)
        else:
            continue
        touched = min(touched, k)
    s.n_bids, s.n_asks = n_bids, n_asks
    return touched


@kernel
def begin_hole(
    state: Array,
    levels: Array,
    depth: int,
    cap_multiple: float,
    means: Array,
    sums: Array,
    since: int,
    out: Array,
    n: int,
) -> int:
    """Updates are missing after a time: what is left is no book. Gives the rows in `out` now."""
    s = state[0]
    now = max(since, s.now)
    n = pass_time(state, levels, depth, cap_multiple, means, sums, now, out, n)
    _look(s, levels, depth, cap_multiple, means, now)
    _weigh(s, means, sums, now)
    _drop(s, since)
    s.now = now
    return n


@kernel
def take(
    rows: Array,
    start: int,
    state: Array,
    levels: Array,
    quotes: Array,
    before: Array,
    depth: int,
    cap_multiple: float,
    means: Array,
    sums: Array,
    out: Array,
    n: int,
) -> tuple[int, int, int]:
    """Take updates from row `start` on. Gives (rows taken up to here, rows in `out` now, why it stops)."""
    s, i, count = state[0], start, len(rows)
    while i < count:
        end = i
        while not rows[end].last and end + 1 < count:
            end += 1
        end += 1
        at, u_last, snapshot = rows[i].available_at, rows[i].u_last, rows[i].kind == BOOK_SNAPSHOT
        if not snapshot and s.state == SYNCED and u_last != NEVER and u_last <= s.u:
            i = end
            continue
        now = max(at, s.now)
        s.now = now
        if s.close == NEVER:
            _open(s, now)
        elif s.close <= now:
            n = pass_time(state, levels, depth, cap_multiple, means, sums, now, out, n)
        waited = s.state != SYNCED
        if waited and not snapshot:
            s.state = BUFFERING
            return i, n, WAITS
        _look(s, levels, depth, cap_multiple, means, now)
        if not snapshot and not _continues(s, rows[i].u_first, u_last, rows[i].u_prev):
            _weigh(s, means, sums, now)
            _drop(s, at)
            return end, n, BREAKS
        if waited or now > s.updated + AGE_NS or (snapshot and not s.fresh):
            _weigh(s, means, sums, now)
            s.begun = 0
        touched = _replace(s, rows, i, end, levels, depth, before) if snapshot else _change(s, rows, i, end, levels)
        if touched < depth:
            _weigh(s, means, sums, now)
            s.shaped = 0
        n_bids, n_asks = s.n_bids, s.n_asks
        s.sided = n_bids > 0 and n_asks > 0
        if s.sided and levels[0, 0, n_bids - 1] >= -levels[1, 0, n_asks - 1]:
            _drop(s, at)
            return end, n, CROSSES
        if not s.begun:
            _remember(s, levels, quotes)
        elif touched < OFI_LEVELS:
            _flow(s, levels, quotes, sums)
        s.begun, s.state, s.fresh = 1, SYNCED, snapshot
        s.u = u_last if snapshot or u_last != NEVER else s.u
        s.updated = max(s.updated, at)
        s.updates += 1
        i = end
        if snapshot and waited:
            return i, n, SYNCS
    return i, n, DONE
