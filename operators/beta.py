"""Bitcoin beta: how an instrument moves with a reference, and what of its moves the reference does not explain.

Returns are ln(C_t / C_{t-1}) of bars that close together; a pair with a side missing or SYNTHETIC is dropped. Coefficients at t are
those of the N pairs before t, so the residual at t is out of sample: e_t = r_t - alpha - beta * r of the reference. Source: file 05
section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.frames import NO_CONTROL, Array, Rows
from events.rows import BAR, feature_row
from events.schema import ABSENT, COLD, END, FOLD_MISSING, MISSING, NEVER, PARTIAL, SETTLED, SILENT, VOID, WARMING
from events.times import HOUR_NS, MINUTE_NS
from operators.beta_kernels import COEFFICIENTS, LEAST_PAIRS, LEAST_Z, MOMENTUM_PAIRS, Z_PAIRS, follow, log_returns
from operators.broadcast import CLOSE_ROW
from operators.microstructure.scores import MicroScore

PAIRS: Final = {MINUTE_NS: 240, 5 * MINUTE_NS: 288, 30 * MINUTE_NS: 336, 4 * HOUR_NS: 180}
"""N, how many pairs a window has, by timeframe; 240 for others."""
_YEAR_NS: Final = 525_600 * MINUTE_NS


REFERENCE: Final = "reference"
"""Stands among the streams of an instrument that is compared with a reference."""

BETA_SCORES: Final = (
    MicroScore(
        "residual_momentum",
        "bitcoin_beta",
        1.0,
        "bitcoin_beta.residual_momentum",
        None,
        (REFERENCE,),
        ("beta", "residual_z"),
    ),
)
"""The score columns, on all timeframes."""

BETA_COLUMNS: Final = (
    "beta",  # slope on the reference
    "alpha",  # intercept, per bar
    "rho",  # correlation
    "r_squared",
    "t_alpha",  # of alpha, with Newey-West errors
    "corr_breakdown",  # 1: the correlation over 60 pairs is far below that of the window, else 0
    "residual",  # out of sample, per bar
    "residual_z",  # over the 256 residuals before
    "alpha_annual",  # alpha times the bars of a year
    *(score.column for score in BETA_SCORES),
)
"""The columns of a row, in order."""
_MADE: Final = (0, 1, 2, 3, 4, 5, 6, 7, 9)  # places of what `follow` gives


class Beta:
    """In: "bars.{name}", which drive, and the reference's closes, "reference.{name}". Out: "beta.{name}", a row per whole bar.

    A row without a pair is MISSING throughout: one side is not there or SYNTHETIC, or the reference is void at that time, though
    it may come later. Otherwise COLD below 60 pairs (32 more for a z of residuals, 51 for residual momentum), then WARMING until
    the window is full, and with it all that a z is over. Where there is no reference, or it is not in the universe at
    that time, or it is the instrument itself, rows are SILENT: not applicable. Memory: the pairs of a window, 256 at least.

    Args:
        name: of the timeframe.
        timeframe_ns: its length.
        pairs: N.
    """

    instrument = ""

    def __init__(self, name: str, timeframe_ns: int, pairs: int) -> None:
        self.source, self.other, self.target = f"bars.{name}", f"reference.{name}", f"beta.{name}"
        self.timeframe_ns, self.pairs = timeframe_ns, pairs
        self.outputs = (self.target,)
        self.dtype = feature_row(len(BETA_COLUMNS))
        self.last = {self.source: (1.0, NEVER), self.other: (1.0, NEVER)}  # close and index of the newest bar of each
        self.voids: tuple[tuple[int, int, bool], ...] = ()  # (since, until, whether there is no reference at all)
        self.memory = np.empty((4, 0))  # pairs, residuals, and sums of residuals
        self.seen = 0  # pairs ever
        self.applicable = True
        momentum = LEAST_PAIRS + MOMENTUM_PAIRS - 1 + LEAST_Z
        cold = [*[LEAST_PAIRS] * (COEFFICIENTS + 1), LEAST_PAIRS + LEAST_Z, LEAST_PAIRS, momentum]
        full = [*[pairs] * (COEFFICIENTS + 1), pairs + Z_PAIRS, pairs, pairs + MOMENTUM_PAIRS - 1 + Z_PAIRS]
        self.cold, self.full = np.array(cold), np.array(full)

    @property
    def streams(self) -> tuple[str, str]:
        """All that it waits for; the own bars drive."""
        return self.source, self.other

    def promise(self, name: str, watermark: int) -> int:
        """As far as its inputs."""
        return watermark

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Pair the new bars."""
        for said in control.get(self.other, NO_CONTROL):
            if said["kind"] == VOID:
                absent = bool(said["reason"] == ABSENT)
                self.voids = (*self.voids, (int(said["since"]), int(said["until"]), absent))
            elif said["kind"] == END and said["available_at"] == NEVER:
                self.applicable = False
        bars = rows.get(self.source, _NO_BARS)
        bars = bars[bars["flags"] & (PARTIAL | FOLD_MISSING) == 0]
        reference = rows.get(self.other, _NO_CLOSES)
        explained = self._returns(self.other, reference)
        if len(bars):
            own = self._returns(self.source, bars)
            yield self.target, self._rows(bars, own, reference["available_at"], explained)
        self.voids = tuple(void for void in self.voids if void[1] >= watermark)

    def _returns(self, name: str, rows: Array) -> Array:
        """Of new bars of one side; NaN where a pair cannot have it."""
        if not len(rows):
            return np.empty(0)
        close, g = np.ascontiguousarray(rows["close"]), np.ascontiguousarray(rows["g"])
        out: Array = log_returns(close, g, rows["flags"].astype(np.int64), *self.last[name])
        self.last[name] = float(close[-1]), int(g[-1])
        return out

    def _rows(self, bars: Array, own: Array, times: Array, explained: Array) -> Array:
        at = bars["available_at"]
        other = np.full(len(bars), np.nan)
        if len(times):
            place = np.minimum(times.searchsorted(at), len(times) - 1)
            other = np.where(times[place] == at, explained[place], np.nan)
        applicable = np.full(len(bars), self.applicable)
        for since, until, absent in self.voids:
            hidden = (at >= since) & (at <= until)
            other[hidden] = np.nan
            applicable[hidden] &= not absent
        paired = np.flatnonzero(~np.isnan(own) & ~np.isnan(other))
        out = np.empty(len(bars), self.dtype)
        for field in ("available_at", "g", "ts_open", "ts_close", "flags"):
            out[field] = bars[field]
        out["values"], out["status"] = np.nan, np.where(applicable, MISSING, SILENT)[:, None]
        if len(paired):
            out["values"][paired], out["status"][paired] = self._follow(own[paired], other[paired])
        return out

    def _follow(self, own: Array, other: Array) -> tuple[Array, Array]:
        """(values, statuses) at new pairs."""
        known = self.memory.shape[1]
        held = np.full((4, known + len(own)), np.nan)
        held[:, :known] = self.memory
        held[0, known:], held[1, known:] = own, other
        values = np.empty((len(own), len(BETA_COLUMNS)))
        values[:, _MADE] = follow(held[0], held[1], held[2], held[3], known, self.seen, self.pairs)
        values[:, 8] = values[:, 1] * (_YEAR_NS / self.timeframe_ns)
        before = np.arange(self.seen, self.seen + len(own))[:, None]
        ready = np.where(before < self.full, WARMING, SETTLED)
        status = np.where(before < self.cold, COLD, np.where(np.isnan(values), MISSING, ready)).astype(np.uint8)
        self.seen += len(own)
        self.memory = held[:, -max(self.pairs, Z_PAIRS) :].copy()
        return values, status

    def snapshot(self) -> Any:
        """The pairs that windows may still need, and the newest bar of each side."""
        return self.memory.tobytes(), self.seen, dict(self.last), self.voids, self.applicable

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        held, self.seen, last, self.voids, self.applicable = snapshot
        self.memory, self.last = np.frombuffer(held).reshape(4, -1), dict(last)


_NO_BARS, _NO_CLOSES = np.empty(0, BAR), np.empty(0, CLOSE_ROW)
