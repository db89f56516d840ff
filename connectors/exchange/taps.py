"""Trades as ccxt parses them to rows, and the tap through which they come: a cache that tells of everything that is put into it.

What `watch_trades` returns is never used, because under load it loses trades without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ccxt.async_support.base.ws.cache import ArrayCache

from connectors.exchange.sequencer import Arrival
from events.identity import id_hash
from events.times import SECOND_NS

Trade = Mapping[str, Any]
"""A trade in the unified structure of ccxt."""


class Tap(ArrayCache):  # type: ignore[misc]
    """The cache of trades of one symbol, in place of ccxt's own; keeps one trade, and hands each to `take`."""

    def __init__(self, take: Callable[[Trade], None]) -> None:
        super().__init__(1)
        self._take = take

    def append(self, item: Trade) -> None:
        """Called by ccxt for every trade it has parsed."""
        self._take(item)
        super().append(item)


class NotATrade(Exception):
    """What should be a trade is not one: an answer of something between us and the exchange, or a change of its format."""


class TradeReader:
    """Reads the trades of one instrument.

    Args:
        stamp: the time of a trade in ns.
        side: the taker's side, +1 or -1.
        counts: whether ids are integers that count, so that each trade has one.
        summed: how many ids a trade of the stream stands for.
        size: base units of one contract, 1 where quantities are in base units.
        inverse: whether quantities are contracts of so many quote units.

    Attributes:
        plain: whether quantities are in base units as they are.
    """

    def __init__(
        self,
        stamp: Callable[[Trade], int],
        side: Callable[[Trade], int],
        counts: bool = True,
        summed: Callable[[Trade], int] | None = None,
        size: float = 1.0,
        inverse: bool = False,
    ) -> None:
        self._stamp, self._side, self._counts, self._summed = stamp, side, counts, summed
        self._size, self._inverse = size, inverse
        self.plain = size == 1.0 and not inverse

    def __call__(self, trade: Trade, received_ns: int) -> Arrival:
        """The trade as a row.

        Raises:
            NotATrade: it lacks an id, a time or a number.
        """
        try:
            last, price = id_of(trade.get("id") or "", self._counts), float(trade["price"])
            qty = self.base(float(trade["amount"]), price)
            row = (self._stamp(trade), received_ns, last, last, price, qty, self._side(trade), 0)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise NotATrade(f"no trade: {error}: {str(dict(trade))[:200]}") from None
        first = last if self._summed is None else last - self._summed(trade) + 1
        return Arrival(first, last, row)

    def base(self, qty: float, price: float) -> float:
        """A quantity in base units."""
        qty *= self._size
        return qty / price if self._inverse else qty


def id_of(name: str, counts: bool = True) -> int:
    """The id of a trade as rows have it, by what the venue calls it.

    >>> id_of("4665906"), id_of("20f43950-d8dd-5b31-9112-a178eb6023af", counts=False)
    (4665906, -8048523045598429435)

    Args:
        name: the venue's id.
        counts: whether it has to be an integer; otherwise one that is none is hashed.

    Raises:
        ValueError: it is empty, or no integer.
    """
    whole = name.isascii() and name.isdecimal() and len(name) < 19
    if not name or (counts and not whole):
        raise ValueError(f"its id is {name!r}")
    return int(name) if whole else id_hash(name)


def milliseconds(trade: Trade) -> int:
    """The time that ccxt gives, which it cuts to milliseconds; for venues that have no finer one."""
    return int(trade["timestamp"]) * 1_000_000


def exact_stamp(trade: Trade) -> int:
    """The venue's own stamp: ISO text, or seconds of which the microseconds are certain.

    >>> [exact_stamp({"info": info}) for info in ({"timestamp": "2023-09-25T07:49:37.708706Z"},
    ...                                           ["1.5", "2.0", 1695628177.7087061, "s"])]
    [1695628177708706000, 1695628177708706000]
    """
    info = trade["info"]
    if isinstance(info, list):
        return round(float(info[2]) * 1e6) * 1_000
    return iso_ns(info.get("timestamp") or info["time"])


def iso_ns(text: str) -> int:
    """The ns since 1970 of a time in UTC, as venues write it.

    >>> iso_ns("2023-09-25T07:49:37.708706Z"), iso_ns("2023-09-25T07:49:37Z")
    (1695628177708706000, 1695628177000000000)
    """
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return _seconds(seconds) * SECOND_NS + int(fraction.ljust(9, "0")[:9])


@lru_cache(maxsize=8)  # most trades share their second with the one before
def _seconds(text: str) -> int:
    """Seconds since 1970 of "YYYY-MM-DDTHH:MM:SS", which is UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


_SIDES = {"buy": 1, "sell": -1}


def taker_side(trade: Trade) -> int:
    """The side as ccxt gives it, where that is the taker's; 0 if it gives none."""
    return _SIDES.get(trade["side"], 0)


def opposite_of_maker(trade: Trade) -> int:
    """The taker's side of a venue that names the maker's. It is read from the venue's own word, since ccxt turns it in some
    messages and leaves it in others.

    >>> opposite_of_maker({"side": "sell", "info": {"side": "sell"}})
    1
    """
    return -_SIDES.get(str(trade["info"]["side"]).lower(), 0)


def okx_count(trade: Trade) -> int:
    """How many trades OKX summed up into one: their ids end with that of the sum."""
    return int(trade["info"].get("count") or 1)


def kraken_symbol(trade: Trade) -> str:
    """The symbol of a trade that Kraken pushed."""
    return str(trade["info"]["symbol"])
