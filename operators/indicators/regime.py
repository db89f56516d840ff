"""The market regime of a timeframe, with a dwell so that it does not flicker."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.maths import clip, kernel

STRONG_TREND_DOWN = -2
TREND_DOWN = -1
RANGING = 0
TREND_UP = 1
STRONG_TREND_UP = 2
HIGH_VOL = 3
LOW_LIQUIDITY = 4
REGIMES = {
    STRONG_TREND_DOWN: "STRONG_TREND_DOWN",
    TREND_DOWN: "TREND_DOWN",
    RANGING: "RANGING",
    TREND_UP: "TREND_UP",
    STRONG_TREND_UP: "STRONG_TREND_UP",
    HIGH_VOL: "HIGH_VOL",
    LOW_LIQUIDITY: "LOW_LIQUIDITY",
}
DWELL_BARS = 3


@kernel
def settle(raw: int, current: int, rival: int, bars: int) -> tuple[int, int, int]:
    """(regime, rival, bars that the rival has led in a row) after a bar labelled `raw`."""
    if raw == current:
        return current, current, 0
    bars = bars + 1 if raw == rival else 1
    return (raw, raw, 0) if bars >= DWELL_BARS else (current, raw, bars)


@kernel
def _label(
    adx: float, plus_di: float, minus_di: float, volatility: float, depth: float, spread: float, current: int
) -> int:
    """The label of one bar on its own, `current` being the regime before it. Comparisons with NaN are false: rule skipped."""
    if depth < 0.05 or spread > 0.95:
        return LOW_LIQUIDITY
    if volatility > 0.95:
        return HIGH_VOL
    trending = STRONG_TREND_DOWN <= current <= STRONG_TREND_UP and current != RANGING
    if not abs(plus_di - minus_di) > 0.0 or not adx >= (20.0 if trending else 25.0):
        return RANGING
    strength = STRONG_TREND_UP if adx >= 40.0 else TREND_UP
    return strength if plus_di > minus_di else -strength


@kernel
def _step(
    adx: float, plus_di: float, minus_di: float, volatility: float, depth: float, spread: float, state: Array
) -> int:
    """The label of one bar; `state` is (regime, rival, bars that the rival has led in a row) and carried on."""
    raw = _label(adx, plus_di, minus_di, volatility, depth, spread, state[0])
    state[0], state[1], state[2] = settle(raw, state[0], state[1], state[2])
    return raw


@kernel
def _follow(
    adx: Array, plus_di: Array, minus_di: Array, volatility: Array, depth: Array, spread: Array, state: Array
) -> tuple[Array, Array]:
    """(regime, label of the bar alone) per bar, `state` carried on."""
    out, raw = np.empty(len(adx), np.int64), np.empty(len(adx), np.int64)
    for t in range(len(adx)):
        raw[t] = _step(adx[t], plus_di[t], minus_di[t], volatility[t], depth[t], spread[t], state)
        out[t] = state[0]
    return out, raw


@kernel
def dwell(raw: Array) -> Array:
    """Regime codes (int64) of raw labels: a change after 3 bars in a row of one label other than the regime; RANGING at first.

    First index 0; H 512, stable length 512 (declared). Source: file 03 section 10.

    >>> dwell(np.array([0, 1, 1, 3, 1, 1, 1, 0, 1, 0, 0, 0])).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    """
    out = np.empty(len(raw), np.int64)
    current, rival, bars = RANGING, RANGING, 0
    for t in range(len(raw)):
        current, rival, bars = settle(raw[t], current, rival, bars)
        out[t] = current
    return out


@kernel
def regime(
    adx: Array, plus_di: Array, minus_di: Array, atr_pctl: Array, depth_pctl: Array, spread_pctl: Array
) -> tuple[Array, Array]:
    """(regime, raw): codes of `REGIMES` (int64), raw being the label of the bar alone; mirrored prices negate -2..2.

    raw is LOW_LIQUIDITY if depth_pctl < 0.05 or spread_pctl > 0.95; else HIGH_VOL if atr_pctl > 0.95; else, by the sign of
    plus_di - minus_di, a trend if adx >= 25, or >= 20 while the regime is a trend, strong from 40; else RANGING, as where the two
    are equal. Rules on NaN are skipped; columns of NaN stand for inputs that are not there. `dwell` turns raw into regime.

    adx, plus_di, minus_di in 0..100; the others percentile ranks in [0, 1]: of NATR14 over 512 bars, of depth and spread over
    1440 base bars. First index 0 (RANGING); H 512, stable length 512 (declared). Source: file 03 section 10.

    >>> adx, nothing = np.array([26.0, 26.0, 26.0, 21.0, 19.0, 45.0]), np.full(6, np.nan)
    >>> [column.tolist() for column in regime(adx, np.full(6, 9.0), np.full(6, 20.0), nothing, nothing, nothing)]
    [[0, 0, -1, -1, -1, -1], [-1, -1, -1, -1, 0, -2]]
    """
    return _follow(adx, plus_di, minus_di, atr_pctl, depth_pctl, spread_pctl, np.array([RANGING, RANGING, 0]))


def regime_codes(adx: Array, plus_di: Array, minus_di: Array, atr_pctl: Array) -> Array:
    """`regime` without depth and spread, whose rule is skipped: codes of `REGIMES`, never LOW_LIQUIDITY.

    First index, H and stable length are those of `regime`.

    >>> regime_codes(np.full(3, 30.0), np.full(3, 9.0), np.full(3, 20.0), np.full(3, 0.99)).tolist()
    [0, 0, 3]
    """
    return RegimeHandle(adx, plus_di, minus_di, atr_pctl).codes


class RegimeHandle:
    """`regime_codes` opened on some bars, then a bar at a time; `value` is the newest code."""

    def __init__(self, adx: Array, plus_di: Array, minus_di: Array, atr_pctl: Array) -> None:
        absent, self.state = np.full(len(adx), math.nan), np.array([RANGING, RANGING, 0])
        self.codes, _ = _follow(adx, plus_di, minus_di, atr_pctl, absent, absent, self.state)
        self.value = int(self.state[0])

    def update(self, adx: float, plus_di: float, minus_di: float, atr_pctl: float) -> int:
        """The code with one more bar."""
        _step(adx, plus_di, minus_di, atr_pctl, math.nan, math.nan, self.state)
        self.value = int(self.state[0])
        return self.value


@kernel
def trend_weight(adx: float) -> float:
    """How much of a trend ADX shows, in [0, 1]: clip((ADX - 20) / 20), a smooth blend weight, never a jump.

    >>> round(trend_weight(25.900417795427618), 12)
    0.295020889771
    """
    return clip((adx - 20.0) / 20.0, 0.0, 1.0)


@kernel
def p_trend(adx: Array) -> Array:
    """How much of a trend ADX shows, in [0, 1]: clip((ADX - 20) / 20, 0, 1), a smooth blend weight; NaN where ADX is.

    First index, H and stable length are those of ADX14 (27, 512, 249). Source: file 03 section 10.

    >>> p_trend(np.array([10.0, 25.900417795427618, 50.0, np.nan])).round(12).tolist()
    [0.0, 0.295020889771, 1.0, nan]
    """
    out = np.empty(len(adx))
    for t in range(len(adx)):
        out[t] = trend_weight(adx[t]) if math.isfinite(adx[t]) else math.nan
    return out
