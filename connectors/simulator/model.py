"""A seeded model of a whole market: correlated prices, clusters of volatility, taker flow in runs.

It is lazy: days are planned minute by minute (returns, volatility, counts of trades), and the trades of an hour are made when
somebody asks for them, the same ones every time. So weeks of history cost nothing until they are fetched.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import Final, Protocol

import numpy as np

from connectors.simulator.listings import Asset, Listing
from events.frames import Array
from events.rows import TRADE
from events.times import DAY_NS, HOUR_NS, MINUTE_NS

_MINUTES: Final = 1_440  # of a day
_SHARED: Final = 0.75  # correlation of every asset with the market
_BLOCKS_KEPT: Final = 48


class Tape(Protocol):
    """Trades by their index, from 0 on, and by time; what an exchange hands out as its history and its future."""

    def index_at(self, time_ns: int) -> int:
        """How many trades there are before that time."""

    def rows(self, first: int, end: int) -> Array:
        """TRADE rows of indices `[first, end)`; their ids are still to be set."""

    def quiet_until(self, time_ns: int) -> int:
        """A time before which nothing trades, from that one on; the best that is known without looking far."""


def generator(seed: int, name: str, *position: int) -> np.random.Generator:
    """Randomness that depends on what it is for alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *position])


class Volatility:
    """Log volatility of the market by minute, and the market's own shocks: planned day by day from `first_day` on."""

    def __init__(self, seed: int, first_day: int) -> None:
        self.seed, self.first_day = seed, first_day
        self._days: list[tuple[Array, Array]] = []
        self._last = 0.0

    def day(self, i: int) -> tuple[Array, Array]:
        """(volatility as a multiple of the usual one, shocks) of the i-th day, a value a minute."""
        while len(self._days) <= i:
            r = generator(self.seed, "market", self.first_day + len(self._days))
            shocks, pulls = r.standard_normal(_MINUTES), r.standard_normal(_MINUTES) * 0.5 * np.sqrt(2 / 240)
            walk = np.empty(_MINUTES)
            for minute in range(_MINUTES):  # a slow mean-reverting walk: calm and storm take turns
                self._last += pulls[minute] - self._last / 240
                walk[minute] = self._last
            self._days.append((np.exp(walk), shocks))
        return self._days[i]


class Path:
    """Log prices of an asset at the beginning of every minute; listings of one asset share it."""

    def __init__(self, volatility: Volatility, name: str, asset: Asset) -> None:
        self._volatility, self._name, self._asset = volatility, name, asset
        self._days: list[Array] = []
        self._last = float(np.log(asset.price))

    def day(self, i: int) -> Array:
        """Log prices at the 1441 minute boundaries of the i-th day."""
        while len(self._days) <= i:
            k = len(self._days)
            storm, shared = self._volatility.day(k)
            own = generator(self._volatility.seed, self._name, self._volatility.first_day + k).standard_normal(_MINUTES)
            step = self._asset.daily_volatility / np.sqrt(_MINUTES) * storm
            returns = step * (_SHARED * shared + np.sqrt(1 - _SHARED**2) * own)
            self._days.append(self._last + np.concatenate([[0.0], np.cumsum(returns)]))
            self._last = float(self._days[-1][-1])
        return self._days[i]


class ModelTape:
    """The trades of one listing. `activity` multiplies how many there are.

    >>> volatility = Volatility(1, 19_675)
    >>> listing = Listing.of("binance:BTC/USDT")
    >>> tape = ModelTape(listing, volatility, Path(volatility, "BTC", listing.asset))
    >>> noon = 19_675 * DAY_NS + 12 * HOUR_NS
    >>> first, end = tape.index_at(noon), tape.index_at(noon + MINUTE_NS)
    >>> rows = tape.rows(first, end)
    >>> len(rows) == end - first > 10, bool((rows["available_at"] >= noon).all())
    (True, True)
    """

    def __init__(self, listing: Listing, volatility: Volatility, path: Path, activity: float = 1.0) -> None:
        self._listing, self._volatility, self._path = listing, volatility, path
        self._rate = listing.asset.trades_per_minute * activity
        self._origin_ns = volatility.first_day * DAY_NS
        self._before = np.zeros(1, np.int64)  # trades before each minute since the origin
        self._blocks: OrderedDict[int, Array] = OrderedDict()

    def index_at(self, time_ns: int) -> int:
        """How many trades there are before that time."""
        minute = (time_ns - self._origin_ns) // MINUTE_NS
        if minute < 0:
            return 0
        self._plan(minute + 1)
        hour = minute // 60
        block = self._block(hour)
        return int(self._before[hour * 60] + np.searchsorted(block["available_at"], time_ns, "left"))

    def rows(self, first: int, end: int) -> Array:
        """TRADE rows of indices `[first, end)`; their ids are still to be set."""
        while self._before[-1] < end:
            self._plan(len(self._before) + _MINUTES - 1)
        parts = []
        while first < end:
            hour = (int(np.searchsorted(self._before, first, "right")) - 1) // 60
            offset = int(self._before[hour * 60])
            part = self._block(hour)[first - offset : end - offset]
            parts.append(part)
            first += len(part)
        return np.concatenate(parts) if parts else np.zeros(0, TRADE)

    def quiet_until(self, time_ns: int) -> int:
        """A time before which nothing trades, from that one on: that of the next trade, or the end of the hour."""
        hour = (time_ns - self._origin_ns) // HOUR_NS
        times = self._block(hour)["available_at"]
        following = int(np.searchsorted(times, time_ns, "left"))
        return int(times[following]) if following < len(times) else self._origin_ns + (hour + 1) * HOUR_NS

    def _plan(self, minutes: int) -> None:
        """Say how many trades each minute has, for so many minutes at least."""
        while len(self._before) <= minutes:
            day = (len(self._before) - 1) // _MINUTES
            storm, _ = self._volatility.day(day)
            r = generator(self._volatility.seed, "counts " + self._listing.instrument, self._volatility.first_day + day)
            counts = r.poisson(self._rate * storm)
            self._before = np.concatenate([self._before, self._before[-1] + np.cumsum(counts)])

    def _block(self, hour: int) -> Array:
        if hour not in self._blocks:
            self._plan((hour + 1) * 60)
            self._blocks[hour] = self._make(hour)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(hour)
        return self._blocks[hour]

    def _make(self, hour: int) -> Array:
        """The trades of an hour: between the prices at its minutes, in orders that sweep several levels at one time."""
        listing, asset = self._listing, self._listing.asset
        counts = np.diff(self._before[hour * 60 : hour * 60 + 61])
        n = int(counts.sum())
        r = generator(self._volatility.seed, listing.instrument, self._volatility.first_day * 24 + hour)
        minute = np.repeat(np.arange(60), counts)
        steps = MINUTE_NS // listing.resolution_ns
        at = np.sort(minute * MINUTE_NS + r.integers(0, steps, n) * listing.resolution_ns)
        swept = r.random(n) < 0.3  # the next fill of the same taker order: same time, same side, a worse price
        swept[np.flatnonzero(np.diff(minute, prepend=-1))] = False
        index = np.arange(n)
        order = np.maximum.accumulate(np.where(swept, 0, index)) if n else index
        flips = np.where(r.random(n) < 0.3, -1, 1)  # takers come in runs
        side = np.cumprod(flips)[order] if n else flips
        day, first_minute = divmod(hour, 24)
        first_minute *= 60
        grid = self._path.day(day)[first_minute : first_minute + 61]
        share = (at - minute * MINUTE_NS) / MINUTE_NS
        mid = grid[minute] + share * np.diff(grid)[minute]
        mid += _bridge(r, counts) * asset.daily_volatility / np.sqrt(_MINUTES)
        ticks = np.rint(np.exp(mid) * 10.0**asset.price_decimals) + side * (1 + index - order)
        lots = np.rint(r.lognormal(-1.0, 1.2, n) * 1_000 / asset.price * 10.0**asset.qty_decimals)
        out = np.zeros(n, TRADE)
        out["available_at"] = out["ts_recv"] = self._origin_ns + hour * HOUR_NS + at[order]
        # whole numbers over a power of ten: the float that the decimal text is parsed to
        out["price"] = np.maximum(ticks, 1) / 10.0**asset.price_decimals
        out["qty"] = np.maximum(lots, 1) / 10.0**asset.qty_decimals
        out["side"] = side
        return out


def _bridge(r: np.random.Generator, counts: Array) -> Array:
    """Random walks, one for each of `counts` steps, that come back to zero at their last one."""
    n = int(counts.sum())
    walk = np.concatenate([[0.0], np.cumsum(r.standard_normal(n))])
    end = np.cumsum(counts)
    k = np.repeat(counts, counts)
    low, high = walk[np.repeat(end - counts, counts)], walk[np.repeat(end, counts)]
    done = np.arange(1, n + 1) - np.repeat(end - counts, counts)
    bridged: Array = (walk[1:] - low - done / np.maximum(k, 1) * (high - low)) / np.sqrt(np.maximum(k, 1))
    return bridged
