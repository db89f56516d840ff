"""Looks again and again which markets of an exchange are the largest, until a feed has to follow others."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from connectors.exchange.universe import Changes, Largest, changes, few, turnover

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed

log = logging.getLogger(__name__)


class Changed(Exception):
    """Other markets are to be followed."""

    def __init__(self, found: Changes) -> None:
        super().__init__(found)
        self.found = found


class Chooser:
    """Looks for one feed.

    Args:
        feed: whose.
        rule: which markets.
        always: symbols that are followed whatever their rank.
    """

    def __init__(self, feed: Feed, rule: Largest, always: Sequence[str]) -> None:
        self._feed, self.rule, self.always = feed, rule, frozenset(always)
        self._looked_s = -math.inf

    async def run(self) -> None:
        """Look until others are to be followed.

        Raises:
            Changed: then.
        """
        feed, rule = self._feed, self.rule
        markets = feed.client.markets
        while True:
            await asyncio.sleep(max(0.0, self._looked_s + rule.refresh_s - time.monotonic()))
            tickers = await feed.calls.call(partial(feed.client.fetch_tickers, None, dict(rule.asked)))
            self._looked_s = time.monotonic()
            turnovers = {
                symbol: turnover(ticker)
                for symbol, ticker in tickers.items()
                if symbol in markets and rule.candidate(markets[symbol])
            }
            if few(turnovers, feed.symbols):
                log.warning("%s: the turnovers of %d markets came, too few to choose by", feed.exchange, len(turnovers))
                continue
            joins, leaves = changes(turnovers, feed.symbols, rule, self.always)
            if joins or leaves:
                raise Changed(Changes(tuple(joins), tuple(leaves), turnovers))

    def gone(self, known: Collection[str]) -> None:
        """See whether the exchange still knows all that is followed.

        Raises:
            Changed: some markets are no more.
        """
        gone = tuple(symbol for symbol in self._feed.symbols if symbol not in known)
        if gone:
            raise Changed(Changes((), gone, {}))
