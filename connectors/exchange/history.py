"""The past of one market over REST: trades, klines and funding rates of a span, some at a time, with what is missing stated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from connectors.exchange.anchors import first_at
from connectors.exchange.calls import Calls
from connectors.exchange.client import load_markets, make_client
from connectors.exchange.funding import funding
from connectors.exchange.klines import kline_chunks
from connectors.exchange.options import Options
from connectors.exchange.pagers import OKX_PAGE, PAGE, Pages
from connectors.exchange.sequencer import AVAILABLE_AT, Arrival, Hole
from connectors.exchange.venues import VENUES
from events.errors import InputError
from events.frames import Array
from events.rows import TRADE
from events.times import iso

_CONTACT_S: Final = 8.0


class History:
    """The history of one market, while the block lasts.

    Args:
        exchange: the venue's name.
        symbol: the market, in ccxt's spelling.
        address: host and port of a server that stands for the venue.
        cache: where lists of markets are kept for a day.

    Attributes:
        holes: trades that the venue does not serve, of the spans asked for so far.

    Raises:
        InputError: the venue is not known; on entry: it has no such market, or does not answer.
    """

    def __init__(self, exchange: str, symbol: str, address: str | None = None, cache: Path | None = None) -> None:
        self.exchange, self.symbol, self.options, self._cache = exchange, symbol, Options(contact_s=_CONTACT_S), cache
        self.client: Any = make_client(exchange, [symbol], address)
        self.counts = {"calls": 0, "failed_calls": 0}
        self.holes: list[Hole] = []
        self._call = Calls(self).call

    def check_serves_trades(self) -> None:
        """Check that the venue serves trades of a span.

        Raises:
            InputError: it serves the newest alone.
        """
        if not self.serves_trades:
            raise InputError(
                f"{self.exchange} serves the newest trades alone (60 of spot, 1,000 of a contract), so none of a span: record"
                " them with `tidewax live`, or fetch klines"
            )

    async def __aenter__(self) -> Self:
        client = self.client
        try:
            load = partial(self._call, client.load_markets)
            await load_markets(self.exchange, client, [self.symbol], self._cache, load)
        except BaseException:
            await client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def now_ns(self) -> int:
        """The venue's time."""
        return int(await self._call(self.client.fetch_time)) * 1_000_000

    @property
    def serves_trades(self) -> bool:
        """Whether the venue serves trades of a span."""
        return VENUES[self.exchange].counts

    @property
    def perpetual(self) -> bool:
        """Whether the market is a perpetual contract."""
        return bool(self.client.market(self.symbol)["swap"])

    def klines(self, timeframe: str, since_ns: int, until_ns: int) -> AsyncIterator[Array]:
        """OHLCV rows of the klines that open and close in the span; see `klines.klines`."""
        return kline_chunks(self.client, self.symbol, timeframe, since_ns, until_ns, self._call)

    async def funding(self, since_ns: int, until_ns: int) -> AsyncIterator[Array]:
        """FUNDING rows of what was settled in `[since_ns, until_ns)`; see `funding.funding`."""
        yield await funding(self.client, self.symbol, since_ns, until_ns, self._call)

    async def trades(self, since_ns: int, until_ns: int) -> AsyncIterator[Array]:
        """TRADE rows of all trades in `[since_ns, until_ns)`, by id, a page at a time; ids that are missing are in `holes`.

        Raises:
            InputError: the venue does not serve trades of a span, or not of so long ago.
        """
        self.check_serves_trades()
        pages = Pages(self.client, self.symbol, self._call)
        newest = (await pages.page(None)).rows
        if not newest or newest[-1].row[AVAILABLE_AT] < since_ns:
            return
        anchor = await first_at(self.client, self.symbol, since_ns, self._call)
        if anchor is None:
            raise InputError(
                f"{self.exchange} has no trade of {self.symbol} from before {iso(since_ns)}, so which is the first one after"
                " it is not known: it serves about three months. Begin later"
            )
        given, last, at, at_ns = anchor - 1, newest[-1].last, anchor, since_ns
        since = since_ns  # the time of the last trade
        while given < last and at <= last:
            page = await pages.page(at, at_ns, known=at == given)
            fresh = [arrival for arrival in page.rows if arrival.last > given]
            ended = next((n for n, arrival in enumerate(fresh) if arrival.row[AVAILABLE_AT] >= until_ns), len(fresh))
            self._note_holes(given, since, fresh[: ended + 1])
            if ended:
                yield np.array([arrival.row for arrival in fresh[:ended]], TRADE)
            if ended < len(fresh):
                return
            if fresh:
                at = given = fresh[-1].last
                at_ns = since = fresh[-1].row[AVAILABLE_AT]
            else:  # so many ids in a row that there are not
                at += OKX_PAGE if self.exchange == "okx" else PAGE

    def _note_holes(self, given: int, since: int, fresh: list[Arrival]) -> None:
        for arrival in fresh:
            at = arrival.row[AVAILABLE_AT]
            if arrival.first > given + 1:
                self.holes.append(Hole(since, at, given + 1, arrival.first - 1))
            given, since = arrival.last, at
