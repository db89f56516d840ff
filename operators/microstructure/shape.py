"""Kernels of what a book says at one moment: its imbalance, spread, depth and cost to trade.

All sizes are taken as `min(q, cap)`, against sizes that are displayed to be seen. Sides are as in `levels`.
Source: file 04 section 3.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from events.frames import Array
from operators.maths import kernel
from operators.microstructure.columns import BANDS_BPS, LASTS, MEANS, NOTIONALS, OFI_LEVELS

MEDIAN_LEVELS: Final = 20
"""Best levels of either side whose median size the cap is a multiple of."""
BAND_BPS: Final = float(BANDS_BPS[-1])
DECAY_BPS: Final = 10.0
NARROW_BPS, MIDDLE_BPS = float(BANDS_BPS[0]), float(BANDS_BPS[1])
FIRST_NOTIONAL, SECOND_NOTIONAL = NOTIONALS[0][0], NOTIONALS[1][0]

_IMB_1: Final = MEANS.index("imb_1")
_IMB_5: Final = MEANS.index("imb_5")
_IMB_BAND: Final = MEANS.index("imb_band")
_MICRO_DEV: Final = MEANS.index("micro_dev")
_SPREAD: Final = MEANS.index("spread_bps")
_DEPTH_BID: Final = MEANS.index(f"depth_bid_{BANDS_BPS[0]}_usd")
_DEPTH_ASK: Final = MEANS.index(f"depth_ask_{BANDS_BPS[0]}_usd")
_LASTS: Final = len(LASTS)


@kernel
def size_cap(bids: Array, n_bids: int, asks: Array, n_asks: int, multiple: float) -> float:
    """`multiple` times the median size of the best 20 levels of both sides together; infinite if `multiple` is.

    >>> import numpy as np
    >>> size_cap(np.array([9.0, 1.0, 2.0]), 3, np.array([3.0, 40.0]), 2, 10.0)
    30.0
    """
    if math.isinf(multiple):
        return math.inf
    sizes = np.empty(2 * MEDIAN_LEVELS)
    count = 0
    for k in range(2 * MEDIAN_LEVELS):
        i = n_bids - 1 - k if k < MEDIAN_LEVELS else n_asks - 1 - (k - MEDIAN_LEVELS)
        if i < 0:
            continue
        size = bids[i] if k < MEDIAN_LEVELS else asks[i]
        at = count
        while at > 0 and sizes[at - 1] > size:
            sizes[at] = sizes[at - 1]
            at -= 1
        sizes[at] = size
        count += 1
    return float(multiple * ((sizes[(count - 1) // 2] + sizes[count // 2]) / 2.0))


@kernel
def _best(quantities: Array, n: int, levels: int, cap: float) -> float:
    """Size of the best levels."""
    total = 0.0
    for i in range(n - 1, max(n - 1 - levels, -1), -1):
        total += min(quantities[i], cap)
    return total


@kernel
def bands(
    keys: Array, quantities: Array, n: int, depth: int, mid: float, cap: float
) -> tuple[float, float, float, float]:
    """(decaying size, notional within 10, 25 and 50 bps of the mid) of one side."""
    weighted, narrow, middle, wide = 0.0, 0.0, 0.0, 0.0
    for i in range(n - 1, max(n - 1 - depth, -1), -1):
        price, quantity = abs(keys[i]), min(quantities[i], cap)
        distance_bps = 1e4 * abs(price - mid) / mid
        if distance_bps > BAND_BPS:
            break
        weighted += math.exp(-distance_bps / DECAY_BPS) * quantity
        notional = price * quantity
        wide += notional
        if distance_bps <= MIDDLE_BPS:
            middle += notional
        if distance_bps <= NARROW_BPS:
            narrow += notional
    return weighted, narrow, middle, wide


@kernel
def _balance(bid: float, ask: float) -> float:
    total = bid + ask
    return (bid - ask) / total if total > 0.0 else math.nan


@kernel
def shape(levels: Array, n_bids: int, n_asks: int, depth: int, cap_multiple: float, out: Array) -> None:
    """Fill `out` with the columns MEANS of a book with both sides, made of its best `depth` levels."""
    bids, bid_sizes, asks, ask_sizes = levels[0, 0], levels[0, 1], levels[1, 0], levels[1, 1]
    bid, ask = bids[n_bids - 1], -asks[n_asks - 1]
    mid = (bid + ask) / 2.0
    cap = size_cap(bid_sizes, n_bids, ask_sizes, n_asks, cap_multiple)
    for m in range(OFI_LEVELS):
        bid_size = bid_sizes[n_bids - 1 - m] if m < n_bids else 0.0
        ask_size = ask_sizes[n_asks - 1 - m] if m < n_asks else 0.0
        out[m] = (bid_size + ask_size) / 2.0
    out[_IMB_1] = _balance(_best(bid_sizes, n_bids, 1, cap), _best(ask_sizes, n_asks, 1, cap))
    out[_IMB_5] = _balance(_best(bid_sizes, n_bids, 5, cap), _best(ask_sizes, n_asks, 5, cap))
    out[_MICRO_DEV] = out[_IMB_1]  # equal by algebra; computed so, both sides count the same exactly
    out[_SPREAD] = 1e4 * (ask - bid) / mid
    bid_band, out[_DEPTH_BID], out[_DEPTH_BID + 1], out[_DEPTH_BID + 2] = bands(
        bids, bid_sizes, n_bids, depth, mid, cap
    )
    ask_band, out[_DEPTH_ASK], out[_DEPTH_ASK + 1], out[_DEPTH_ASK + 2] = bands(
        asks, ask_sizes, n_asks, depth, mid, cap
    )
    out[_IMB_BAND] = _balance(bid_band, ask_band)


@kernel
def cost_bps(keys: Array, sizes: Array, n: int, depth: int, mid: float, cap: float, notional: float) -> float:
    """How far from the mid the mean price of sweeping this notional is, bps; NaN if the levels do not hold it."""
    left, quantity = notional, 0.0
    for i in range(n - 1, max(n - 1 - depth, -1), -1):
        price = abs(keys[i])
        taken = min(left, price * min(sizes[i], cap))
        quantity += taken / price
        left -= taken
        if left <= 0.0:
            return float(1e4 * abs(notional / quantity - mid) / mid)
    return math.nan


@kernel
def slope(keys: Array, sizes: Array, n: int, depth: int, mid: float, cap: float) -> float:
    """Cumulative notional per bps of distance, fitted through the origin; NaN without a level within 50 bps."""
    notional, products, squares = 0.0, 0.0, 0.0
    for i in range(n - 1, max(n - 1 - depth, -1), -1):
        price = abs(keys[i])
        distance_bps = 1e4 * abs(price - mid) / mid
        if distance_bps > BAND_BPS:
            break
        notional += price * min(sizes[i], cap)
        products += distance_bps * notional
        squares += distance_bps * distance_bps
    return products / squares if squares > 0.0 else math.nan


@kernel
def lasts(levels: Array, n_bids: int, n_asks: int, depth: int, cap_multiple: float, out: Array) -> None:
    """Fill `out` with the columns LASTS of a book with both sides, made of its best `depth` levels."""
    bids, bid_sizes, asks, ask_sizes = levels[0, 0], levels[0, 1], levels[1, 0], levels[1, 1]
    bid, ask, bid_size, ask_size = bids[n_bids - 1], -asks[n_asks - 1], bid_sizes[n_bids - 1], ask_sizes[n_asks - 1]
    mid = (bid + ask) / 2.0
    cap = size_cap(bid_sizes, n_bids, ask_sizes, n_asks, cap_multiple)
    bid_weight, ask_weight = min(bid_size, cap), min(ask_size, cap)
    wmid = (ask * bid_weight + bid * ask_weight) / (bid_weight + ask_weight)
    out[0], out[1], out[2], out[3], out[4], out[5] = mid, wmid, bid, bid_size, ask, ask_size
    out[6] = cost_bps(asks, ask_sizes, n_asks, depth, mid, cap, FIRST_NOTIONAL)
    out[7] = cost_bps(bids, bid_sizes, n_bids, depth, mid, cap, FIRST_NOTIONAL)
    out[8] = cost_bps(asks, ask_sizes, n_asks, depth, mid, cap, SECOND_NOTIONAL)
    out[9] = cost_bps(bids, bid_sizes, n_bids, depth, mid, cap, SECOND_NOTIONAL)
    out[10] = slope(bids, bid_sizes, n_bids, depth, mid, cap)
    out[11] = slope(asks, ask_sizes, n_asks, depth, mid, cap)
