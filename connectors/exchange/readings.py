"""What ccxt puts into its caches, as rows of the streams beside trades, no more of them than is of use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from connectors.exchange.beside_rows import (
    Parsed,
    Sample,
    liquidation_rows,
    pushed_open_interest,
    rate_of,
    rate_row,
    stamp,
    ticker_row,
    top_row,
    update_ticker,
)
from connectors.exchange.channels import INDEXES, LIQUIDATION_CACHE, MARKS, QUOTE_CACHE, RATE_CACHE, TICKER_CACHE
from connectors.exchange.line import Line, Row
from events.feeds import FEEDS, LIQUIDATIONS, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.schema import MALFORMED, NEVER
from events.times import MINUTE_NS, SECOND_NS

_TICKER_NS: Final = SECOND_NS // 2
"""Tickers and mark prices are handed out no more often than this."""

STREAMS: Final = {
    TICKER_CACHE: (TICKERS, RATES, OPEN_INTEREST),
    QUOTE_CACHE: (TOPS,),
    RATE_CACHE: (RATES,),
    LIQUIDATION_CACHE: (LIQUIDATIONS,),
}
"""Which streams come of what is in a cache of ccxt. Of a ticker of Kraken the best quotes come too."""

ERRORS: Final = (KeyError, TypeError, ValueError, ZeroDivisionError)
"""What is raised where something cannot be read."""


class Told(dict[str, Any]):
    """A cache of ccxt that tells of everything that is put into it.

    >>> said = []
    >>> cache = Told({}, lambda symbol, parsed: said.append((symbol, parsed)))
    >>> cache["BTC/USDT"] = {"last": 9.0}
    >>> cache, said
    ({'BTC/USDT': {'last': 9.0}}, [('BTC/USDT', {'last': 9.0})])
    """

    def __init__(self, content: Mapping[str, Any], take: Callable[[str, Parsed], None]) -> None:
        super().__init__(content)
        self._take = take

    def __setitem__(self, symbol: str, parsed: Any) -> None:
        """Called by ccxt for everything it has parsed."""
        super().__setitem__(symbol, parsed)
        self._take(symbol, parsed)


class Readings:
    """Reads for a feed; it knows what was read before, since tickers come in parts and more often than they are of use.

    Args:
        exchange: the venue's name.
        poll_s: open interest that is pushed is handed out so often.
    """

    def __init__(self, exchange: str, poll_s: float) -> None:
        self._exchange, self._poll_ns = exchange, round(poll_s * SECOND_NS)
        self._tickers: dict[str, dict[str, float]] = {}
        self._newest: dict[tuple[str, str], int] = {}  # by symbol and stream, the time of the newest row
        self._next_ns: dict[str, int] = {}  # by symbol, the next settlement as predicted last

    def streams(self, cache: str) -> tuple[str, ...]:
        """Those that come of a cache of ccxt."""
        return STREAMS[cache] + ((TOPS,) if self._exchange == "kraken" and cache == TICKER_CACHE else ())

    def rows(self, line: Line, parsed: Parsed, received_ns: int) -> Iterator[tuple[Row, int]]:
        """(row, its time) of what came for a line; none where it says nothing of that, or nothing new. The time of a predicted rate
        is NEVER, since it tells nothing of which settlements were handed out.

        Raises:
            KeyError, TypeError, ValueError, ZeroDivisionError: it cannot be read.
        """
        for sample in self._samples(line, parsed, received_ns):
            self._newest[line.one.symbol, line.stream] = sample.at_ns
            at = NEVER if line.stream == RATES else sample.at_ns
            yield sample.row(self._number(line, parsed, received_ns)), at

    def _samples(self, line: Line, parsed: Parsed, received_ns: int) -> Iterator[Sample]:
        stream, symbol, read = line.stream, line.one.symbol, line.one.read
        if stream == LIQUIDATIONS:
            yield from liquidation_rows(self._exchange, line.one.key, parsed, read, received_ns)
            return
        found: Sample | None = None
        at = stamp(parsed)
        at = received_ns if at == NEVER else at
        newest = self._newest.get((symbol, stream), NEVER)
        since_ns = at - newest if newest != NEVER else None
        if stream == TOPS:
            found = top_row(parsed, read, received_ns)
        elif stream == TICKERS:
            state = self._tickers.setdefault(symbol, {})
            update_ticker(state, parsed, read)
            if since_ns is None or since_ns >= _TICKER_NS:
                found = ticker_row(state, at, received_ns)
        elif stream == OPEN_INTEREST:
            if since_ns is None or since_ns >= self._poll_ns:
                found = pushed_open_interest(parsed, at, received_ns)
        else:
            found = self._predicted(line, parsed, at, since_ns, received_ns)
        if found is not None:
            yield found

    def _predicted(self, line: Line, parsed: Parsed, at: int, since_ns: int | None, received_ns: int) -> Sample | None:
        """The funding rate to come, if it is stated, its interval is known, and the last one is old or of another settlement."""
        rate, symbol = rate_of(parsed), line.one.symbol
        hours = line.interval_h if rate is None or rate.interval_h is None else rate.interval_h
        if rate is None or hours is None:
            return None
        if since_ns is not None and since_ns < MINUTE_NS and rate.next_ns == self._next_ns.get(symbol):
            return None
        self._next_ns[symbol] = rate.next_ns
        return rate_row(rate, hours, at, received_ns)

    def _number(self, line: Line, parsed: Parsed, received_ns: int) -> int:
        """The venue's own number of a change of the best quotes, which tells repeats; else one of ours."""
        if line.stream == TOPS and self._exchange == "binance":
            return int(parsed["info"]["u"])
        return line.next_seq(received_ns)


def told(parsed: Parsed) -> str:
    """What a ticker of ccxt is made of, where that is no ticker: MARKS or INDEXES.

    >>> told({"info": {"idxPx": "9"}}), told({"info": {"last": "9"}})
    ('index prices', '')
    """
    info = parsed.get("info")
    if not isinstance(info, dict):
        return ""
    if info.get("e") == "markPriceUpdate" or "markPx" in info:
        return MARKS
    return INDEXES if "idxPx" in info else ""


def malformed(stream: str, received_ns: int, seq: int) -> Row:
    """A row that says that something came which could not be read.

    >>> malformed("top", 5, 7)
    (5, 5, 7, 0.0, 0.0, 0.0, 0.0, 0, 1)
    """
    row = np.zeros(1, FEEDS[stream].dtype)
    for name in ("available_at", "ts_event", "ts_recv"):
        if name in (row.dtype.names or ()):
            row[name] = received_ns
    row["seq"], row["flags"] = seq, MALFORMED
    return tuple(row[0].tolist())
