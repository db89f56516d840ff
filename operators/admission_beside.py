"""Kernels that decide row by row which rows of the streams beside trades may enter, given the faults of the rows by themselves."""

from __future__ import annotations

from events.frames import Array
from events.schema import BOOK_SNAPSHOT, NEVER
from events.validation import ACCEPTED, DUPLICATE, LATE
from operators.admission import find, sweep
from operators.maths import kernel


@kernel
def admit_samples(available_at: Array, keys: Array, lateness_ns: int, state: Array, reasons: Array) -> int:
    """Judge samples of a state; one whose key (the venue's time or update id) is not above that of the last one is a repeat, where
    it has a key. Gives how many are refused.
    """
    s = state[0]
    refused = 0
    for i in range(len(available_at)):
        at, reason = available_at[i], reasons[i]
        if reason == ACCEPTED:
            if keys[i] != NEVER and s.last_id != NEVER and keys[i] <= s.last_id:
                reason = DUPLICATE
            elif at < s.watermark:
                reason = LATE
        if reason == ACCEPTED:
            if at < s.newest:
                s.reordered += 1
            s.last_id, s.last_at = max(s.last_id, keys[i]), at
            s.newest = max(s.newest, at)
            s.watermark = max(s.watermark, s.newest - lateness_ns)
        else:
            refused += 1
        reasons[i] = reason
    return refused


@kernel
def admit_events(
    available_at: Array,
    start: int,
    keys: Array,
    lateness_ns: int,
    state: Array,
    ids: Array,
    times: Array,
    reasons: Array,
) -> tuple[int, int]:
    """Judge events from row `start` on, such as liquidations by their ids and klines by their opens, in any order.

    Gives (rows judged up to here, rows refused); it stops early where the table of ids needs to grow.
    """
    s = state[0]
    refused, i = 0, start
    while i < len(available_at):
        at, reason, place = available_at[i], reasons[i], -1
        if reason == ACCEPTED:
            if 2 * s.used >= len(ids):
                s.used = sweep(ids, times, s.watermark)
                if 4 * s.used >= len(ids):
                    break
            place = find(ids, keys[i])
            if ids[place] == keys[i] and times[place] >= s.watermark:
                reason = DUPLICATE
            elif at < s.watermark:
                reason = LATE
        if reason == ACCEPTED:
            if at < s.newest:
                s.reordered += 1
            if ids[place] == NEVER:
                s.used += 1
            ids[place], times[place] = keys[i], at
            s.last_at = at
            s.newest = max(s.newest, at)
            s.watermark = max(s.watermark, s.newest - lateness_ns)
        else:
            refused += 1
        reasons[i] = reason
        i += 1
    return i, refused


@kernel
def admit_book(rows: Array, lateness_ns: int, state: Array, reasons: Array) -> int:
    """Judge updates of a book, each as a whole: one faulty row refuses all rows of its update. Gives how many rows are refused.

    An update that ends with an id not above that of the last one is a repeat; a snapshot begins the ids anew.
    """
    s = state[0]
    refused, i = 0, 0
    while i < len(rows):
        end, reason = i, ACCEPTED
        while True:
            if reason == ACCEPTED:
                reason = reasons[end]
            end += 1
            if rows[end - 1].last or end == len(rows):
                break
        at, u_last, snapshot = rows[i].available_at, rows[i].u_last, rows[i].kind == BOOK_SNAPSHOT
        if reason == ACCEPTED:
            if u_last != NEVER and (u_last == s.last_seq if snapshot else u_last <= s.last_id):
                reason = DUPLICATE
            elif at < s.watermark:
                reason = LATE
        if reason == ACCEPTED:
            if at < s.newest:
                s.reordered += 1
            if snapshot:
                s.last_seq = u_last
            s.last_id, s.last_at = u_last, at
            s.newest = max(s.newest, at)
            s.watermark = max(s.watermark, s.newest - lateness_ns)
        else:
            refused += end - i
        for k in range(i, end):
            reasons[k] = reason
        i = end
    return refused
