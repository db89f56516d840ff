"""Kernels that decide row by row, in order of arrival, which rows of a stream may enter and how far it is complete.

How frames are cut decides nothing: the watermark rises with each accepted row, W = max(W, available_at - lateness).
"""

from __future__ import annotations

import numpy as np

from events.frames import Array
from events.schema import NEVER
from events.validation import (
    ACCEPTED,
    DUPLICATE,
    LATE,
    MALFORMED,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    funding_fault,
    kline_fault,
    trade_fault,
)
from operators.maths import kernel

STATE = np.dtype(
    [
        ("watermark", "i8"),
        ("newest", "i8"),  # largest available_at accepted
        ("last_id", "i8"),  # of a sequenced stream; of funding rates the time of the last settlement
        ("last_at", "i8"),  # available_at and seq of the last accepted row
        ("last_seq", "i8"),  # of funding rates the time of the last prediction
        ("used", "i8"),  # places taken in the table of ids
        ("reordered", "i8"),
        ("in_order", "i8"),  # 1: the rows judged last were in canonical order
    ]
)
HOLE_SPAN = np.dtype([("since", "i8"), ("until", "i8"), ("id_from", "i8"), ("id_to", "i8")])


def new_state() -> Array:
    """The state of a stream that has not begun."""
    return np.array([(NEVER, NEVER, NEVER, NEVER, NEVER, 0, 0, 0)], STATE)


@kernel
def find(ids: Array, key: int) -> int:
    """The place of a key in the open-addressing table `ids`, or the free place where it belongs."""
    mask = len(ids) - 1
    at = (key ^ (key >> 32)) * 0x9E3779B1 & mask
    while ids[at] != NEVER and ids[at] != key:
        at = (at + 1) & mask
    return at


@kernel
def remember(ids: Array, times: Array, table_ids: Array, table_times: Array) -> int:
    """Put ids into an empty table; how many there are."""
    for i in range(len(ids)):
        at = find(table_ids, ids[i])
        table_ids[at], table_times[at] = ids[i], times[i]
    return len(ids)


@kernel
def sweep(ids: Array, times: Array, watermark: int) -> int:
    """Drop, in place, the ids that cannot be repeated any more; how many stay."""
    live = 0
    for i in range(len(ids)):
        if ids[i] != NEVER and times[i] >= watermark:
            live += 1
    kept_ids, kept_times, n = np.empty(live, np.int64), np.empty(live, np.int64), 0
    for i in range(len(ids)):
        if ids[i] != NEVER and times[i] >= watermark:
            kept_ids[n], kept_times[n] = ids[i], times[i]
            n += 1
        ids[i] = NEVER
    return remember(kept_ids, kept_times, ids, times)


@kernel
def admit_trades(
    rows: Array,
    start: int,
    lateness_ns: int,
    sequenced: bool,
    state: Array,
    ids: Array,
    times: Array,
    reasons: Array,
    holes: Array,
) -> tuple[int, int, int]:
    """Judge trades from row `start` on: `reasons` per row, `holes` in the ids of a sequenced stream. A hole begins where the
    stream was last known to be complete: at the row before, or at a heartbeat since.

    Gives (rows judged up to here, holes found, rows refused); it stops early where the table of ids needs to grow.
    """
    s = state[0]
    watermark, newest, last_id, last_at, used = s.watermark, s.newest, s.last_id, s.last_at, s.used
    last_seq, n_holes, refused, disorder, i = s.last_seq, 0, 0, False, start
    while i < len(rows):
        at, trade_id = rows[i].available_at, rows[i].trade_id
        price, qty, side, flags, seq = rows[i].price, rows[i].qty, rows[i].side, rows[i].flags, rows[i].seq
        sound = (price >= PRICE_MIN) & (price <= PRICE_MAX) & (qty > 0.0) & (qty <= QTY_MAX)
        sound &= (side >= -1) & (side <= 1) & (flags == 0)
        reason = ACCEPTED if sound else trade_fault(price, qty, side, flags)
        place = -1
        if reason == ACCEPTED:
            if sequenced:
                if last_id != NEVER and trade_id <= last_id:
                    reason = DUPLICATE
            elif trade_id != NEVER:
                if 2 * used >= len(ids):
                    used = sweep(ids, times, watermark)
                    if 4 * used >= len(ids):
                        break
                place = find(ids, trade_id)
                if ids[place] == trade_id and times[place] >= watermark:
                    reason = DUPLICATE
            if reason == ACCEPTED and at < watermark:
                reason = LATE
        if reason == ACCEPTED:
            if at < newest:
                s.reordered += 1
            if sequenced:
                if last_id != NEVER and trade_id > last_id + 1:
                    holes[n_holes].since, holes[n_holes].until = max(last_at, watermark), at
                    holes[n_holes].id_from, holes[n_holes].id_to = last_id + 1, trade_id - 1
                    n_holes += 1
                last_id = trade_id
            elif place >= 0:
                if ids[place] == NEVER:
                    used += 1
                ids[place], times[place] = trade_id, at
            disorder |= (at < last_at) | ((at == last_at) & (seq < last_seq))  # without a branch: ties are frequent
            last_at, last_seq = at, seq
            newest = max(newest, at)
            watermark = max(watermark, newest - lateness_ns)
        else:
            refused += 1
            reasons[i] = reason
        i += 1
    if disorder:
        s.in_order = 0
    s.watermark, s.newest, s.last_id, s.last_at, s.used = watermark, newest, last_id, last_at, used
    s.last_seq = last_seq
    return i, n_holes, refused


@kernel
def admit_funding(rows: Array, lateness_ns: int, state: Array, reasons: Array) -> int:
    """Judge funding rows; a sample not newer than the last one of its kind, settled or predicted, is a repeat of it. Gives how many
    are refused.
    """
    s = state[0]
    refused = 0
    for i in range(len(rows)):
        at = rows[i].available_at
        reason = funding_fault(rows[i].rate, rows[i].interval_h, rows[i].flags)
        if reason == ACCEPTED:
            last = s.last_seq if rows[i].predicted else s.last_id
            if last != NEVER and rows[i].ts_event <= last:
                reason = DUPLICATE
            elif at < s.watermark:
                reason = LATE
        if reason == ACCEPTED:
            if rows[i].predicted:
                s.last_seq = rows[i].ts_event
            else:
                s.last_id = rows[i].ts_event
            s.last_at = at
            s.newest = max(s.newest, at)
            s.watermark = max(s.watermark, s.newest - lateness_ns)
        else:
            refused += 1
        reasons[i] = reason
    return refused


@kernel
def admit_preload(rows: Array, state: Array, reasons: Array) -> int:
    """Judge klines of several lengths, in the order of their closes; how many are refused. A repeat follows what it repeats."""
    s = state[0]
    refused = 0
    for i in range(len(rows)):
        r = rows[i]
        length_ns = r.available_at - r.ts_open
        reason = MALFORMED
        if length_ns > 0:
            reason = kline_fault(
                r.ts_open, r.open, r.high, r.low, r.close, r.volume, r.quote_volume, r.closed, r.flags, length_ns
            )
        if reason == ACCEPTED and r.available_at == s.last_at and r.ts_open == s.last_id:
            reason = DUPLICATE
        elif reason == ACCEPTED and r.available_at < s.watermark:
            reason = LATE
        if reason == ACCEPTED:
            s.last_at, s.last_id = r.available_at, r.ts_open
            s.newest = s.watermark = r.available_at
        else:
            refused += 1
        reasons[i] = reason
    return refused
