"""Microstructure on what Binance sent: the book rebuilt from its changes and the best quotes it stated beside it say the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from captured_books import CAPTURES, captured
from lab import ALL, deliver, drive
from micro_bench import bars, column, micro, rows

from events.feeds import BOOKS, TOPS
from events.times import MINUTE_NS
from operators.microstructure.book import BOOK_MINUTES, BookMinutes, BookSettings
from operators.microstructure.quotes import QUOTE_MINUTES, QuoteMinutes

NAME = "USD-M BTC"
pytestmark = pytest.mark.data


def stated(folder: Path):
    """Best quotes as they were pushed, of the venue's time."""
    found = []
    for file in CAPTURES[NAME]:
        with gzip.open(folder / "hftbacktest" / file, "rt") as lines:
            for line in lines:
                said = json.loads(line.split(" ", 1)[1])
                if said.get("stream", "").endswith("@bookTicker"):
                    data = said["data"]
                    found.append((data["T"] * 10**6, *(float(data[k]) for k in ("b", "B", "a", "A"))))
    at, bid, bid_qty, ask, ask_qty = np.array(found, object).T
    return rows(TOPS, at.astype(np.int64), bid=bid, bid_qty=bid_qty, ask=ask, ask_qty=ask_qty)


def test_the_book_and_the_best_quotes_say_the_same(market_data):
    held, top = captured(market_data, NAME).rows, stated(market_data)
    first = -(-int(top["available_at"][0]) // MINUTE_NS) * MINUTE_NS
    minutes = int((top["available_at"][-1] - first) // MINUTE_NS)
    assert len(top) > 50_000
    assert minutes == 7
    book = drive(lambda: BookMinutes(BookSettings(cap_mult=None)), [BOOKS], deliver({BOOKS: held}, ALL))
    quotes = drive(lambda: QuoteMinutes(MINUTE_NS), [TOPS], deliver({TOPS: top}, ALL))
    given = bars(np.ones(minutes), first=first + MINUTE_NS)
    of_book = micro(given, {BOOK_MINUTES: book[BOOK_MINUTES]})
    of_quotes = micro(given, {QUOTE_MINUTES: quotes[QUOTE_MINUTES]})
    for name, near in (("imb_1", 0.02), ("spread_bps", 0.001), ("liquidity.microprice", 0.02)):
        assert np.abs(column(of_book, name) - column(of_quotes, name)).max() < near, name
        assert np.isfinite(column(of_book, name)).all()
    assert np.abs(column(of_book, "wmid") / column(of_quotes, "wmid") - 1.0).max() < 1e-5
    assert np.abs(column(of_quotes, "imb_1")).max() > 0.2
