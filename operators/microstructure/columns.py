"""The columns of a row of `book.1m`, in the order in which kernels write them."""

from __future__ import annotations

from typing import Final

OFI_LEVELS: Final = 5
"""Levels of either side whose flow and size are kept."""
BANDS_BPS: Final = (10, 25, 50)
"""Distances from the mid within which depth is summed; the last is also that of `imb_band` and of the slopes."""
NOTIONALS: Final = ((10_000.0, "10k"), (100_000.0, "100k"))
"""What is swept to find the cost to trade, in quote units."""

SUMS: Final = tuple(f"ofi_{m}" for m in range(1, OFI_LEVELS + 1))
"""Order flow of level m over the minute, base units; above 0 buyers add or sellers withdraw. 0 without a change."""
MEANS: Final = (
    *(f"ad_{m}" for m in range(1, OFI_LEVELS + 1)),  # (bid size + ask size) / 2 of level m, base units
    "imb_1",  # (bid size - ask size) / (both) of the best level, [-1, 1]
    "imb_5",  # of the best five
    "imb_band",  # of the levels within 50 bps, those at d bps with weight exp(-d / 10)
    "micro_dev",  # how far the size-weighted mid is off the mid, in half spreads, [-1, 1]
    "spread_bps",
    *(f"depth_bid_{bps}_usd" for bps in BANDS_BPS),  # notional within so many bps of the mid, quote units
    *(f"depth_ask_{bps}_usd" for bps in BANDS_BPS),
)
"""Means over the time in which the book was SYNCED, each state weighted by how long it lasted."""
LASTS: Final = (
    "mid",
    "wmid",  # size-weighted mid
    "bid",
    "bid_qty",  # base units, as displayed
    "ask",
    "ask_qty",
    *(f"ctt_{side}_{name}" for _, name in NOTIONALS for side in ("buy", "sell")),  # cost to trade, bps; NaN: too thin
    "book_slope_bid",  # notional per bps of distance from the mid, within 50 bps
    "book_slope_ask",
)
"""At the end of the minute; NaN if the book is not SYNCED then."""

BOOK_COLUMNS: Final = (*SUMS, *MEANS, *LASTS)
"""Source: file 04 sections 2 and 3."""
