"""What stands around the trades: a simple book, and of perpetuals funding rates and liquidations; the same whenever asked for."""

from __future__ import annotations

import numpy as np

from connectors.simulator.ledger import Ledger
from connectors.simulator.model import generator
from events.frames import Array

_ONE_OF = 200
Level = tuple[float, float]
"""Price and quantity."""


def book(ledger: Ledger, seed: int, update: int, depth: int) -> tuple[list[Level], list[Level]]:
    """(bids, asks) around the last price, best first; `update` is the number of the book's version, from which its sizes follow.

    >>> from connectors.simulator.listings import Listing
    >>> from connectors.simulator.recording import RecordedTape
    >>> from events.rows import TRADE
    >>> ledger = Ledger(Listing.of("binance:BTC/USDT"), RecordedTape(np.zeros(0, TRADE)), 0, 0)
    >>> bids, asks = book(ledger, 1, 7, 5)
    >>> [price for price, _ in bids[:2]], [price for price, _ in asks[:2]]
    ([60000.0, 59999.99], [60000.01, 60000.02])
    """
    asset = ledger.listing.asset
    ticks, scale = round(ledger.last_price * 10**asset.price_decimals), 10.0**asset.price_decimals
    r = generator(seed, "book " + ledger.listing.instrument, update)
    lots = np.maximum(np.rint(r.lognormal(1.0, 1.0, (2, depth)) * 1_000 / asset.price * 10.0**asset.qty_decimals), 1)
    sizes = lots / 10.0**asset.qty_decimals
    bids = [((ticks - k) / scale, float(sizes[0, k])) for k in range(min(depth, ticks))]
    asks = [((ticks + 1 + k) / scale, float(sizes[1, k])) for k in range(depth)]
    return bids, asks


def liquidations(rows: Array, seed: int) -> Array:
    """Those of these trades that liquidated a position, about one of two hundred: a buyer was short, a seller long.

    >>> rows = np.zeros(10_000, [("trade_id", "i8")])
    >>> rows["trade_id"] = np.arange(10_000)
    >>> 20 < len(liquidations(rows, 1)) < 100
    True
    """
    mixed = (rows["trade_id"].astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    found: Array = rows[(mixed >> np.uint64(40)) % np.uint64(_ONE_OF) == 0]
    return found


def funding_rate(ledger: Ledger, seed: int, interval: int) -> float:
    """The funding rate of the interval with that number, a fraction: around one basis point, sometimes negative."""
    drawn = 1e-4 + 8e-5 * generator(seed, "funding " + ledger.listing.instrument, interval).standard_normal()
    return float(np.round(np.clip(drawn, -7.5e-3, 7.5e-3), 8))
