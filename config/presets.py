"""Presets of the score: weights of the dimensions, and thresholds."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from events.feeds import BOOKS, KLINES, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TRADES

PRESETS: dict[str, dict[str, float]] = {
    "core6": {
        "order_flow": 0.20, "liquidity": 0.20, "sentiment": 0.15, "bitcoin_beta": 0.15, "smart_money": 0.20, "ml": 0.10,
    },
    "full9": {
        "order_flow": 0.18, "liquidity": 0.14, "sentiment": 0.10, "bitcoin_beta": 0.10, "smart_money": 0.14, "ml": 0.08,
        "volume": 0.08, "structure": 0.08, "technical": 0.10,
    },
    "price6": {
        "order_flow": 0.30, "liquidity": 0.20, "volume": 0.18, "structure": 0.15, "technical": 0.10, "sentiment": 0.07,
    },
    "bars3": {"technical": 0.40, "structure": 0.30, "volume": 0.30},
}  # fmt: skip
"""Weights of the dimensions, by preset."""

THETA_BASE: dict[str, float] = {"bars3": 20.0, "core6": 15.0, "price6": 16.0, "full9": 12.0}
"""Prior threshold of each preset, in points."""

DERIVATIVES: Final = frozenset({RATES, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS})
"""The streams that derivatives alone have."""


def preset_for(feeds: Set[str]) -> str:
    """The preset that `auto` comes to for an instrument with these streams. Source: file 05 section 1.

    >>> [preset_for(feeds) for feeds in ({"trades", "book", "funding"}, {"trades", "book"}, {"klines.1m", "funding"})]
    ['full9', 'price6', 'bars3']
    """
    if KLINES in feeds:
        return "bars3"
    return "full9" if {TRADES, BOOKS} <= feeds and DERIVATIVES & feeds else "price6"
