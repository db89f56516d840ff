"""Heikin Ashi bars: bars averaged with the one before, for reading a trend; never a price to trade at."""

from __future__ import annotations

import numpy as np

from events.frames import Array
from operators.maths import kernel


@kernel
def heikin_ashi(open_: Array, high: Array, low: Array, close: Array) -> tuple[Array, Array, Array, Array]:
    """(ho, hh, hl, hc): open, high, low and close of the Heikin Ashi bars, in price units, within the prices so far.

    First index 0; H 64, stable length 27: the weight of older bars halves with each bar. Source: file 02 section 7.

        hc = (O + H + L + C) / 4;  ho = (previous ho + previous hc) / 2, at first (O + C) / 2
        hh = max(H, ho, hc);  hl = min(L, ho, hc)

    Synthetic bars advance the recursion as any other.

    >>> bars = np.array([[10.0, 12.0, 9.0, 11.0], [11.0, 13.0, 10.0, 12.0], [12.0, 12.0, 8.0, 9.0]])
    >>> [column.tolist() for column in heikin_ashi(*np.ascontiguousarray(bars.T))]
    [[10.5, 10.5, 11.0], [12.0, 13.0, 12.0], [9.0, 10.0, 8.0], [10.5, 11.5, 10.25]]
    """
    n = len(close)
    ho, hh, hl, hc = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for t in range(n):
        hc[t] = (open_[t] + high[t] + low[t] + close[t]) / 4.0
        ho[t] = (ho[t - 1] + hc[t - 1]) / 2.0 if t > 0 else (open_[t] + close[t]) / 2.0
        hh[t] = max(high[t], ho[t], hc[t])
        hl[t] = min(low[t], ho[t], hc[t])
    return ho, hh, hl, hc
