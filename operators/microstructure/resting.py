"""What resting orders say: flow and shape of the book, or of the best quotes where there is no book."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.rows import BOOK_MINUTE
from events.schema import NEVER, SYNCED
from events.times import SECOND_NS
from operators.maths import kernel, squash
from operators.microstructure.book import BOOK_MINUTES
from operators.microstructure.columns import BOOK_COLUMNS, LASTS, MEANS, OFI_LEVELS
from operators.microstructure.part import Out
from operators.microstructure.windows import Rolling, Spans

BOOK_AGE_NS: Final = 30 * SECOND_NS
"""An older update says nothing of the book now. Source: file 04."""
PLACE: Final = {name: k for k, name in enumerate(BOOK_COLUMNS)}
_BEST: Final = ("mid", "bid", "bid_qty", "ask", "ask_qty")
SHAPE: Final = tuple(name for name in (*MEANS, *LASTS) if not name.startswith("ad_") and name not in _BEST)
"""Columns of a minute of the book that are columns here too."""
SCORED: Final = (("book_imbalance", "imb_band"), ("imbalance_5", "imb_5"), ("microprice", "micro_dev"))

_OFI, _AD = slice(0, OFI_LEVELS), slice(OFI_LEVELS, 2 * OFI_LEVELS)
_NONE: Final = np.empty(0, BOOK_MINUTE)


@kernel
def follow_flow(
    times: Array, length_ns: int, at: Array, synced: Array, age: Array, voided: Array, ofi: Array, ad: Array, state: Array,
    sums: Array,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """(order flow, mean over levels of it, SYNCED time, age of the last update, place of the row at t) of bars [t - length, t).

    Order flow adds, sizes average by SYNCED time, and the figure is flow / size. Levels that never had size are left out of the
    mean; NaN without any. Age and place are -1 without a row at t, or under a void. `state` is (close, SYNCED time, time of the
    last row, its age, whether a void met the bar) of the open bar, `sums` its flows and sizes by level. Source: file 04 section 2.
    """
    n, levels = len(times), ofi.shape[1]
    first, mean = np.full(n, math.nan), np.full(n, math.nan)
    whole, last, place = np.zeros(n, np.int64), np.full(n, -1), np.full(n, -1)
    j = 0
    for i in range(n + 1):
        while j < len(at) and (i == n or at[j] <= times[i]):
            close = -(-at[j] // length_ns) * length_ns
            if close > state[0]:
                state[0], state[1], state[4] = close, 0, 0
                sums[:] = 0.0
            if close == state[0]:
                state[1], state[2], state[3] = state[1] + synced[j], at[j], age[j]
                state[4] |= voided[j]
                for m in range(levels):
                    if synced[j] > 0:
                        sums[0, m] += ofi[j, m]
                        sums[1, m] += ad[j, m] * float(synced[j])
            j += 1
        if i == n or state[0] != times[i]:
            continue
        whole[i], total, counted = state[1], 0.0, 0
        for m in range(levels):
            if sums[1, m] > 0.0:
                u = sums[0, m] / (sums[1, m] / float(state[1]))
                total += u
                counted += 1
                if m == 0:
                    first[i] = u
        if counted > 0:
            mean[i] = total / counted
        if state[2] == times[i] and state[4] == 0:
            last[i] = state[3]
            if j > 0 and at[j - 1] == times[i]:
                place[i] = j - 1
    return first, mean, whole, last, place


@kernel
def squashed(z: Array) -> Array:
    """tanh(z / 2)."""
    out = np.empty(len(z))
    for i in range(len(z)):
        out[i] = squash(z[i])
    return out


class Book:
    """The book over each bar: flow on every timeframe, its shape on the base alone.

    All of it is missing for a bar in which the book was not SYNCED for half of the time, whose last update is older than 30 s at
    its end, or that a void of the book meets.

    ofi_n: order flow of the best quotes, in units of their mean size; mlofi_n: mean of the same of five levels; ofi_u, mlofi_u:
    sq(z), [-1, 1], against the 256 bars before (at least 32). The columns of `operators.microstructure.columns` but sums, sizes
    and prices of the best quotes; spread_pctl, depth_pctl: rank of the spread, and of the depth within 10 bps of both sides,
    among the 1440 bars before, [0, 1]. book_synced: share of the bar; book_age_s: of the last update, if the book is SYNCED at
    the end; both are there whenever a minute of the book is. Source: file 04 sections 2 and 3.
    """

    columns = (
        "ofi_n", "ofi_u", "mlofi_n", "mlofi_u", *SHAPE, "spread_pctl", "depth_pctl", "book_synced", "book_age_s",
        "order_flow.ofi", "liquidity.mlofi", *(f"liquidity.{name}" for name, _ in SCORED),
    )  # fmt: skip

    def __init__(self, timeframe_ns: int, base: bool) -> None:
        self.timeframe_ns, self.base = timeframe_ns, base
        self.voids = Spans(BOOK_MINUTES)
        self.state, self.sums = np.array([NEVER, 0, NEVER, 0, 0], np.int64), np.zeros((2, OFI_LEVELS))
        self.flow, self.levels = Rolling(), Rolling()
        self.spread, self.depth = Rolling(1440, rank=True), Rolling(1440, rank=True)

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times, length = np.ascontiguousarray(bars["available_at"]), self.timeframe_ns
        voided = self.voids.met(times - length, times, control, watermark - length)
        minutes = rows.get(BOOK_MINUTES, _NONE)
        at, synced, age, cut, values = (
            np.ascontiguousarray(minutes[field])
            for field in ("available_at", "synced_ns", "age_ns", "voided", "values")
        )
        ofi, mlofi, whole, last, place = follow_flow(
            times, length, at, synced, age, cut, values[:, _OFI], values[:, _AD], self.state, self.sums
        )
        if not len(times):
            return
        untold = voided | (2 * whole < length) | (last < 0) | (last > BOOK_AGE_NS)
        ofi[untold], mlofi[untold] = np.nan, np.nan
        out.put("ofi_n", ofi)
        out.put("mlofi_n", mlofi)
        z, status = self.flow.follow(ofi)
        for name in ("ofi_u", "order_flow.ofi"):
            out.put(name, squashed(z), status)
        if not self.base:
            return
        z, status = self.levels.follow(mlofi)
        for name in ("mlofi_u", "liquidity.mlofi"):
            out.put(name, squashed(z), status)
        shape = np.full((len(times), len(BOOK_COLUMNS)), np.nan)
        shape[~untold] = values[place[~untold]]
        for name in SHAPE:
            out.put(name, shape[:, PLACE[name]])
        for name, column in SCORED:
            out.put(f"liquidity.{name}", shape[:, PLACE[column]])
        spread, near = (
            shape[:, PLACE["spread_bps"]],
            shape[:, PLACE["depth_bid_10_usd"]] + shape[:, PLACE["depth_ask_10_usd"]],
        )
        out.put("spread_pctl", *self.spread.follow(spread))
        out.put("depth_pctl", *self.depth.follow(near))
        self._put_state(out, minutes, place, whole, last, voided)

    def _put_state(self, out: Out, minutes: Array, place: Array, whole: Array, last: Array, voided: Array) -> None:
        there = (place >= 0) & ~voided
        out.put("book_synced", np.where(there, whole / self.timeframe_ns, np.nan))
        synced = there & (last >= 0)
        synced[there] &= minutes["state"][place[there]] == SYNCED
        out.put("book_age_s", np.where(synced, last / SECOND_NS, np.nan))

    def snapshot(self) -> Any:
        """The open bar, and the windows."""
        held = (self.flow, self.levels, self.spread, self.depth)
        open_bar = tuple(self.state.tolist()), self.sums.tobytes()
        return open_bar, self.voids.snapshot(), tuple(rolling.snapshot() for rolling in held)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.state = np.array(snapshot[0][0], np.int64)
        self.sums = np.frombuffer(snapshot[0][1]).reshape(2, OFI_LEVELS).copy()
        self.voids.restore(snapshot[1])
        for rolling, held in zip((self.flow, self.levels, self.spread, self.depth), snapshot[2]):
            rolling.restore(held)
