"""The streams that sources send: their names, the type of their rows, and the order of rows of one time."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from events.frames import Array
from events.rows import (
    BOOK,
    CONTEXT_ROW,
    FUNDING,
    LIQUIDATION,
    LONG_SHORT_ROW,
    MEMBER_ROW,
    OHLCV,
    OPEN_INTEREST_ROW,
    TICKER,
    TOP,
    TRADE,
    UNIVERSE_ROW,
)
from events.times import MINUTE_NS

TRADES: Final = "trades"
LIQUIDATIONS: Final = "liquidations"
BOOKS: Final = "book"
TOPS: Final = "top"
TICKERS: Final = "ticker"
RATES: Final = "funding"
OPEN_INTEREST: Final = "open_interest"
LONG_SHORT: Final = "long_short"
CONTEXT: Final = "context"
KLINES: Final = "klines.1m"
PRELOAD: Final = "preload"
"""Closed klines of all timeframes, before the first trade of a live run: the length of each is `available_at - ts_open`."""
CHECKS: Final = "check.1m"
"""Closed klines of an instrument whose bars are made of its trades: they are held against those bars, nothing else."""
UNIVERSE: Final = "universe"
"""Which instruments join and leave a run, each under its own key."""
MEMBERS: Final = "members"
"""Who joins and leaves a run whose instruments change, under the name that stands for those of an exchange that come and go
(`events.identity.like`). It has a promise of its own: a watermark W says that no change before W is still to come. Instruments that
are named take part from the beginning."""
GLOBAL: Final = "GLOBAL"
"""The key of what is of all instruments."""
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
    LIQUIDATIONS: _feed(2, LIQUIDATION, "liquidations"),
    BOOKS: _feed(3, BOOK, "book levels"),
    TOPS: _feed(4, TOP, "best quotes"),
    TICKERS: _feed(5, TICKER, "tickers"),
    RATES: _feed(6, FUNDING, "funding rates"),
    OPEN_INTEREST: _feed(7, OPEN_INTEREST_ROW, "open interest"),
    LONG_SHORT: _feed(8, LONG_SHORT_ROW, "long/short ratios"),
    CONTEXT: _feed(9, CONTEXT_ROW, "context figures"),
    KLINES: _feed(10, OHLCV, "klines"),
    PRELOAD: _feed(11, OHLCV, "preloaded klines"),
    CHECKS: _feed(12, OHLCV, "klines to check bars by"),
    UNIVERSE: _feed(13, UNIVERSE_ROW, "changes of the universe"),
    MEMBERS: _feed(14, MEMBER_ROW, "members of the universe"),
}
"""By stream, in canonical order."""

BESIDE: Final = (LIQUIDATIONS, BOOKS, TOPS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT)
"""The streams that exchanges may have beside trades, in canonical order."""

LENT: Final = (LIQUIDATIONS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT)
"""The streams that a spot market may have from a perpetual that it is linked to."""

DRIVING: Final = (TRADES, KLINES)
"""The streams that bars are made of. An instrument has one of them; all others stand beside it."""
