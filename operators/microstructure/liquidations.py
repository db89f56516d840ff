"""Liquidations: which side is being forced out, and whether that is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from events.feeds import LIQUIDATIONS
from events.frames import Array
from events.rows import LIQUIDATION
from events.schema import COLD, CONVERGED, FROM_OHLCV, HOLE, MISSING, NEVER, SETTLED, SILENT, WARMING
from events.times import HOUR_NS, MINUTE_NS
from operators.microstructure import liquidation_kernels as sums
from operators.microstructure.histogram import Cascades
from operators.microstructure.part import MicroSettings, Out
from operators.microstructure.windows import Rolling, Spans

HALF_LIVES_NS: Final = (30 * MINUTE_NS, 4 * HOUR_NS)
STABLE: Final = 27
"""Half-lives after which what came before weighs less than 1e-8."""
LONGEST_FLUSH: Final = 30

_NONE: Final = np.empty(0, LIQUIDATION)


class Liquidations:
    """Liquidations by base bar: [t0, t), as trades. A quiet feed is normal: it is missing under a void only.

    liq_imb_30m, liq_imb_4h: (S - L) / (S + L) of the quote values of short and long positions forced out, [-1, 1]; SILENT below
    the floor (setting). liq_decay_30m, liq_decay_4h: the same of decayed sums of these half-lives. liq_intensity_z: z of
    ln(1 + L + S) of the last 5 bars against the 256 before, [-4, 4]. liq_exhaustion: see `follow_exhaustion`, [-1, 1].
    liq_cascade: see `Cascades`. liq_complete: 1 if the venue pushed all of the last 4 hours and no void or hole met them, else 0:
    the sums are lower bounds.
    `sentiment.liquidations`: liq_exhaustion or, by setting, liq_imb_30m. Source: file 04 section 9.
    """

    columns = (
        "liq_imb_30m", "liq_imb_4h", "liq_intensity_z", "liq_exhaustion", "liq_cascade", "liq_complete", "liq_decay_30m",
        "liq_decay_4h", "sentiment.liquidations",
    )  # fmt: skip

    def __init__(self, settings: MicroSettings) -> None:
        self.settings = settings
        self.voids, self.holes = Spans(LIQUIDATIONS), Spans(LIQUIDATIONS, HOLE)
        self.keys, self.sums = np.full(sums.SLOTS, NEVER), np.zeros((sums.SLOTS, 2))
        self.torn = np.zeros(sums.SLOTS, np.uint8)
        self.half_lives = np.array(HALF_LIVES_NS, np.int64)
        self.marks = np.full((len(HALF_LIVES_NS), 2), NEVER)
        self.slots = np.zeros((len(HALF_LIVES_NS), 2, 2))
        self.lately, self.extremes = np.full(sums.EXTREMES, NEVER), np.zeros((sums.EXTREMES, 2))
        self.burst = np.array([np.nan, 0.0, 0.0, 0.0, 0.0])
        self.rolling = Rolling(256, 32, memory=sums.RECENT)
        self.cascades = Cascades()
        self.first_ns, self.seen = NEVER, 0

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        before = (bars["flags"] & FROM_OHLCV != 0) & self.settings.preloaded  # nobody listened then: these come first
        hidden = before | self.voids.met(times, times, control, watermark)
        base_ns, half_lives = self.settings.base_ns, self.half_lives
        torn = hidden | self.holes.met(times - base_ns, times, control, watermark - base_ns)
        new = rows.get(LIQUIDATIONS, _NONE)
        at, whole = np.ascontiguousarray(new["available_at"]), np.ascontiguousarray(new["complete"])
        got = sums.follow_liquidations(
            times, torn, at, new["price"] * new["qty"], np.ascontiguousarray(new["pos"]), whole, base_ns, half_lives, self.keys,
            self.sums, self.torn, self.marks, self.slots,
        )  # fmt: skip
        if not len(times):
            return
        unheard = int(np.count_nonzero(before))
        if self.first_ns == NEVER and unheard < len(times):
            self.first_ns = int(bars["ts_open"][unheard])
        known = np.where(before, 0, times - self.first_ns) if self.first_ns != NEVER else np.zeros(len(times), np.int64)
        columns = np.ascontiguousarray(got.T)
        near = self._put_imbalance(out, "liq_imb_30m", columns, sums.NEAR_LONG, hidden, _ready(known, 30 * MINUTE_NS))
        self._put_imbalance(out, "liq_imb_4h", columns, sums.FAR_LONG, hidden, _ready(known, 4 * HOUR_NS))
        for k, (name, half_life) in enumerate(zip(("30m", "4h"), HALF_LIVES_NS)):
            period = sums.HALF_LIVES * half_life
            ready = np.where(known >= STABLE * half_life, CONVERGED, WARMING)
            ready[times - known <= (times // period - 1) * period] = SETTLED
            self._put_imbalance(out, f"liq_decay_{name}", columns, sums.DECAYED + 2 * k, hidden, ready)
        longs, shorts = columns[sums.RECENT_LONG], columns[sums.RECENT_SHORT]
        z, status = self.rolling.follow(sums.log_sizes(longs, shorts, hidden))
        out.put("liq_intensity_z", z, status)
        out.put("liq_complete", columns[sums.COMPLETE], np.where(hidden, MISSING, _ready(known, 4 * HOUR_NS)))
        ended = self._put_exhaustion(out, bars, z, longs, shorts, hidden, unheard)
        z_interest = np.ascontiguousarray(out.values[:, out.columns["oi_change_z"]])
        ts_open = np.ascontiguousarray(bars["ts_open"])
        out.put("liq_cascade", *self.cascades.follow(ts_open, hidden, longs, shorts, z_interest, self.first_ns))
        u, mark = near if self.settings.liq_mode == "momentum" else ended
        out.put("sentiment.liquidations", 0.0 - u if "liquidations" in self.settings.invert else u, mark)

    def _put_imbalance(
        self, out: Out, name: str, columns: Array, place: int, hidden: Array, ready: Array
    ) -> tuple[Array, Array]:
        u = sums.imbalance(columns[place], columns[place + 1], self.settings.liq_floor_usd)
        status = np.where(hidden, MISSING, np.where(np.isnan(u), SILENT, ready))
        out.put(name, u, status)
        return u, status

    def _put_exhaustion(
        self, out: Out, bars: Array, z: Array, longs: Array, shorts: Array, hidden: Array, unheard: int
    ) -> tuple[Array, Array]:
        g, high, low, close = (np.ascontiguousarray(bars[name]) for name in ("g", "high", "low", "close"))
        u = sums.follow_exhaustion(g, high, low, close, z, longs, shorts, self.lately, self.extremes, self.burst)
        since = self.seen + np.arange(len(g)) - unheard
        self.seen += len(g) - unheard
        ready = np.where(since < self.rolling.full + LONGEST_FLUSH, WARMING, SETTLED)
        status = np.where(since < self.rolling.minimum, COLD, np.where(np.isnan(u), SILENT, ready))
        status[hidden] = MISSING
        out.put("liq_exhaustion", u, status)
        return u, status

    def snapshot(self) -> Any:
        """The sums of 4 hours, what has decayed, the last burst, and the window."""
        held = np.flatnonzero(self.keys != NEVER)
        by_bar = tuple(part[held].tobytes() for part in (self.keys, self.sums, self.torn))
        flush = tuple(part.tobytes() for part in (self.lately, self.extremes, self.burst))
        decayed = self.marks.tobytes(), self.slots.tobytes()
        parts = self.voids.snapshot(), self.holes.snapshot(), self.rolling.snapshot(), self.cascades.snapshot()
        return by_bar, flush, decayed, parts, self.first_ns, self.seen

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        (keys, values, torn), flush, decayed, (voids, holes, rolling, cascades), self.first_ns, self.seen = snapshot
        held = np.frombuffer(keys, np.int64)
        slots = held % sums.SLOTS
        self.keys[slots], self.torn[slots] = held, np.frombuffer(torn, np.uint8)
        self.sums[slots] = np.frombuffer(values).reshape(-1, 2)
        self.lately = np.frombuffer(flush[0], np.int64).copy()
        self.extremes = np.frombuffer(flush[1]).reshape(-1, 2).copy()
        self.burst = np.frombuffer(flush[2]).copy()
        self.marks = np.frombuffer(decayed[0], np.int64).reshape(-1, 2).copy()
        self.slots = np.frombuffer(decayed[1]).reshape(-1, 2, 2).copy()
        self.voids.restore(voids)
        self.holes.restore(holes)
        self.rolling.restore(rolling)
        self.cascades.restore(cascades)


def _ready(known_ns: Array, window_ns: int) -> Array:
    """Settled once so much is known, warming before."""
    return np.where(known_ns >= window_ns, SETTLED, WARMING)
