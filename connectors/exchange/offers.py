"""Which streams venues have beside trades, by market type; and what that makes of a run over several instruments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from connectors.exchange.client import kind_of
from events.errors import InputError
from events.feeds import (
    BESIDE,
    BOOKS,
    CHECKS,
    CONTEXT,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    RATES,
    TICKERS,
    TOPS,
    TRADES,
)

ALL: Final = "all"
"""In place of names of streams: every one that one of the instruments has."""

_SPOT: Final = frozenset({BOOKS, TOPS, TICKERS})
_SWAP: Final = _SPOT | {RATES, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS}

OFFERED: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "binance": {"spot": _SPOT, "swap": _SWAP},
    "bybit": {"spot": _SPOT, "swap": _SWAP},
    "okx": {"spot": _SPOT, "swap": _SWAP},
    "kraken": {"spot": _SPOT},
    "coinbase": {"spot": frozenset({BOOKS, TICKERS})},  # best quotes come with trades only, in its tickers
}
"""By venue and market type."""


def offered(instrument: str) -> frozenset[str]:
    """The streams beside trades that an instrument (`exchange:symbol`) has. On every venue it has klines to check its bars by, and
    context figures, which are of none.

    >>> sorted(offered("kraken:BTC/USD"))
    ['book', 'check.1m', 'context', 'ticker', 'top']
    """
    exchange, _, symbol = instrument.partition(":")
    return OFFERED.get(exchange, {}).get(kind_of(symbol), frozenset()) | {CHECKS, CONTEXT}


def chosen(wanted: Sequence[str], instruments: Iterable[str]) -> tuple[str, ...]:
    """The streams beside trades of a run, in canonical order.

    >>> chosen(["trades", "funding"], ["binance:BTC/USDT", "binance:BTC/USDT:USDT"]), chosen(["all"], ["kraken:BTC/USD"])
    (('funding',), ('book', 'top', 'ticker'))

    Args:
        wanted: names of streams, or ALL.
        instruments: of the run.

    Raises:
        InputError: no instrument has one that is named.
    """
    had = frozenset[str]().union(*map(offered, instruments := tuple(instruments)))
    if ALL in wanted:
        return tuple(name for name in BESIDE if name in had)
    none = [name for name in wanted if name not in had and name != TRADES]
    if none and instruments:
        raise InputError(
            f"exchange.feeds names {', '.join(none)}, and none of {', '.join(instruments)} has that here. Leave it out, or add an "
            f"instrument that has it: perpetual contracts of binance, bybit and okx have most; `{ALL}` is all that there is"
        )
    return tuple(name for name in BESIDE if name in wanted)


def lacking(feeds: Iterable[str], instruments: Iterable[str]) -> dict[str, frozenset[str]]:
    """Of these streams beside trades, those that an instrument does not have, where there are any.

    >>> lacking(["top", "funding"], ["binance:BTC/USDT", "binance:BTC/USDT:USDT"])
    {'binance:BTC/USDT': frozenset({'funding'})}
    """
    feeds = frozenset(feeds)
    found = {name: feeds - offered(name) for name in instruments}
    return {name: streams for name, streams in found.items() if streams}
