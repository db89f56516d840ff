"""The streams that sources send: their names, the type of their rows, and the order of rows of one time."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from events.frames import Array
from events.rows import FUNDING, OHLCV, TRADE
from events.times import MINUTE_NS

TRADES: Final = "trades"
RATES: Final = "funding"
KLINES: Final = "klines.1m"
PRELOAD: Final = "preload"
"""Closed klines of all timeframes, before the first trade of a live run: the length of each is `available_at - ts_open`."""
KLINE_NS: Final = MINUTE_NS
"""The one length of klines that bars are made of; longer bars are folds of it."""


class Feed(NamedTuple):
    """One stream of input.

    Attributes:
        rank: its place among rows of one time.
        dtype: of its rows.
        noun: what its rows are, for messages.
        empty: no rows of it, read-only.
    """

    rank: int
    dtype: np.dtype[Any]
    noun: str
    empty: Array


def _feed(rank: int, dtype: np.dtype[Any], noun: str) -> Feed:
    empty = np.empty(0, dtype)
    empty.flags.writeable = False
    return Feed(rank, dtype, noun, empty)


FEEDS: Final = {
    TRADES: _feed(1, TRADE, "trades"),
    RATES: _feed(6, FUNDING, "funding rates"),
    KLINES: _feed(10, OHLCV, "klines"),
    PRELOAD: _feed(11, OHLCV, "preloaded klines"),
}
"""By stream, in canonical order."""

DRIVING: Final = (TRADES, KLINES)
"""The streams that bars are made of. An instrument has one of them; all others stand beside it."""
