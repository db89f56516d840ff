"""What stands around the trades, beside the book: the same whenever asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp
from typing import Final

import numpy as np

from connectors.simulator.ledger import Ledger
from connectors.simulator.model import generator
from events.frames import Array
from events.times import DAY_NS, HOUR_NS, MINUTE_NS

_ONE_OF: Final = 200
_OPEN: Final = 2_000_000.0
"""Open interest, in quote units, in the long run."""


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
    drawn = 1e-4 + 8e-5 * _normal(seed, "funding " + ledger.listing.instrument, interval)
    return float(np.round(np.clip(drawn, -7.5e-3, 7.5e-3), 8))


def premium(ledger: Ledger, seed: int, time_ns: int) -> float:
    """How far the mark price is above the index price, a fraction: some basis points."""
    return 3e-4 * _wave(ledger, "premium", seed, time_ns, 10 * MINUTE_NS)


def open_interest(ledger: Ledger, seed: int, time_ns: int) -> float:
    """How many contracts are open: it goes up and down over hours, and a little over minutes."""
    slow, quick = (_wave(ledger, "open interest", seed, time_ns, every) for every in (4 * HOUR_NS, 5 * MINUTE_NS))
    contracts = _OPEN / ledger.listing.asset.price * exp(0.2 * slow + 0.02 * quick)
    return round(contracts, ledger.listing.asset.qty_decimals)


def long_share(ledger: Ledger, seed: int, time_ns: int) -> float:
    """The share of accounts that are long, of those that are long or short."""
    return min(max(0.55 + 0.06 * _wave(ledger, "long", seed, time_ns, 2 * HOUR_NS), 0.2), 0.8)


def fear_greed(seed: int, day: int) -> int:
    """The figure of fear and greed of a day since 1970, from 0 to 100: it goes up and down over weeks."""
    week, part = divmod(day, 7)
    before, after = (_normal(seed, "fear and greed", number) for number in (week, week + 1))
    return round(min(max(50.0 + 20.0 * (before + (after - before) * part / 7), 0.0), 100.0))


def _wave(ledger: Ledger, name: str, seed: int, time_ns: int, every_ns: int) -> float:
    """A line through a normal number every so many ns."""
    k, rest = divmod(time_ns, every_ns)
    drawn = f"{name} {ledger.listing.instrument}"
    before, after = (_normal(seed, drawn, every_ns // MINUTE_NS, i) for i in (k, k + 1))
    return before + (after - before) * rest / every_ns


@lru_cache(maxsize=4_096)
def _normal(seed: int, name: str, *position: int) -> float:
    """A normal number that depends on what it is for alone."""
    return float(generator(seed, name, *position).standard_normal())


@dataclass(frozen=True)
class DayFigures:
    """What traded in the 24 hours until a moment, to the minute; from the beginning of the history, if that is later.

    Attributes:
        since_ns, until_ns: of when.
        open, high, low, last: prices.
        last_qty: of the last trade.
        volume, quote_volume: in base and in quote.
        trades: how many.
        first_id, last_id: of them; meaningless if there are none.
    """

    since_ns: int
    until_ns: int
    open: float
    high: float
    low: float
    last: float
    last_qty: float
    volume: float
    quote_volume: float
    trades: int
    first_id: int
    last_id: int

    @property
    def average(self) -> float:
        """The price, weighted by quantity."""
        return self.quote_volume / self.volume if self.volume else self.last


def day_figures(ledger: Ledger, until_ns: int, end_id: int) -> DayFigures:
    """Those of the trades with ids below `end_id` in the minutes of the 24 hours before that time."""
    since_ns = (until_ns - DAY_NS) // MINUTE_NS * MINUTE_NS
    minutes = ledger.klines(MINUTE_NS, since_ns, until_ns, end_id)
    last = ledger.rows(end_id - 1, end_id)
    price = ledger.price_before(end_id)
    if not len(minutes):
        return DayFigures(since_ns, until_ns, price, price, price, price, 0.0, 0.0, 0.0, 0, -1, -1)
    traded = minutes[minutes["trades"] > 0]
    return DayFigures(
        since_ns=int(minutes["ts_open"][0]),
        until_ns=until_ns,
        open=float(minutes["open"][0]),
        high=float(minutes["high"].max()),
        low=float(minutes["low"].min()),
        last=price,
        last_qty=float(last["qty"][0]) if len(last) else 0.0,
        volume=float(traded["volume"].sum()),
        quote_volume=float(traded["quote_volume"].sum()),
        trades=int(traded["trades"].sum()),
        first_id=int(traded["first_id"][0]) if len(traded) else -1,
        last_id=int(traded["last_id"][-1]) if len(traded) else -1,
    )
