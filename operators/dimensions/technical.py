"""The technical dimension: oscillators and trend indicators."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score
from operators.indicators.regime import trend_weight
from operators.maths import clip, kernel, soft


@kernel
def rsi_score(rsi: Array, adx: Array) -> Array:
    """Momentum in a trend, contrarian beyond 30/70 in a range.

    >>> float(round(rsi_score(np.array([69.52086770008617]), np.array([25.900417795427618]))[0], 12))
    0.11518127516
    """
    out = np.empty(len(rsi))
    for i in range(len(rsi)):
        p = trend_weight(adx[i])
        out[i] = clip(p * (rsi[i] - 50.0) / 50.0 - (1.0 - p) * soft(rsi[i] - 50.0, 20.0) / 30.0, -1.0, 1.0)
    return out


@kernel
def adx_score(plus_di: Array, minus_di: Array, adx: Array) -> Array:
    """Direction of movement times its strength; 0 where both directions are 0.

    >>> plus, minus, adx = np.array([31.821064292315675]), np.array([13.465359833456608]), np.array([25.900417795427618])
    >>> float(round(adx_score(plus, minus, adx)[0], 12))
    0.262451950883
    """
    out = np.empty(len(adx))
    for i in range(len(adx)):
        total = plus_di[i] + minus_di[i]
        direction = (plus_di[i] - minus_di[i]) / total if total != 0.0 else 0.0 * adx[i]
        out[i] = direction * clip(adx[i] / 40.0, 0.0, 1.0)
    return out


@kernel
def in_atr_score(difference: Array, atr: Array) -> Array:
    """Tanh of a difference of prices, such as MACD's histogram or the Awesome Oscillator, in ATR; missing where ATR is 0.

    >>> macd, ao = 0.8465822962744427, 5.958802468126422
    >>> in_atr_score(np.array([macd, ao]), np.full(2, 2.2256754568523833)).round(12).tolist()
    [0.363029576526, 0.990591760648]
    """
    out = np.empty(len(difference))
    for i in range(len(difference)):
        out[i] = math.tanh(difference[i] / atr[i]) if atr[i] != 0.0 else math.nan
    return out


@kernel
def cci_score(cci: Array) -> Array:
    """Tanh of CCI / 150.

    >>> float(round(cci_score(np.array([107.76047708397554]))[0], 12))
    0.615919221849
    """
    out = np.empty(len(cci))
    for i in range(len(cci)):
        out[i] = math.tanh(cci[i] / 150.0)
    return out


@kernel
def williams_score(willr: Array) -> Array:
    """(%R + 50) / 50; counted only where settings give it a weight.

    >>> float(round(williams_score(np.array([-10.265971142205128]))[0], 12))
    0.794680577156
    """
    out = np.empty(len(willr))
    for i in range(len(willr)):
        out[i] = (willr[i] + 50.0) / 50.0
    return out


TECHNICAL = (
    Score("rsi", "technical", 0.18, ("rsi_14", "adx_14"), rsi_score),
    Score("adx", "technical", 0.18, ("plus_di_14", "minus_di_14", "adx_14"), adx_score),
    Score("macd", "technical", 0.14, ("macd_12_26_9.hist", "atr_14"), in_atr_score),
    Score("ao", "technical", 0.10, ("ao_5_34", "atr_14"), in_atr_score),
    Score("cci", "technical", 0.10, ("cci_20",), cci_score),
    Score("willr", "technical", 0.0, ("willr_14",), williams_score),
)
