"""Which markets of an exchange a run follows: the largest by turnover, with hysteresis so that those near the edge stay put."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.exchange.client import kind_of
from connectors.exchange.venues import Market


@dataclass(frozen=True)
class Largest:
    """The markets of one type and quote with the largest turnover of 24 hours.

    Attributes:
        top: rank up to which a market joins.
        keep: rank beyond which one leaves, at least `top`; so there are `top` to `keep` of them.
        quote: what they are quoted in.
        market: spot or swap (perpetual contracts).
        refresh_s: seconds between looks.
        never: bases that are left out, such as stable coins.
    """

    top: int
    keep: int
    quote: str = "USDT"
    market: str = "spot"
    refresh_s: float = 3600.0
    never: tuple[str, ...] = ()

    def candidate(self, market: Market) -> bool:
        """Whether a market, as ccxt describes it, may be chosen: it is active, and a contract of it is linear.

        >>> spot = {"symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "active": True}
        >>> Largest(1, 2).candidate(spot), Largest(1, 2, quote="USD").candidate(spot)
        (True, False)
        """
        return (
            kind_of(market["symbol"]) == self.market
            and market["quote"] == self.quote
            and market["base"] not in self.never
            and market.get("active") is not False
            and (self.market == "spot" or bool(market.get("swap") and market.get("linear")))
        )


def turnover(ticker: Mapping[str, Any]) -> float:
    """The turnover of 24 hours in quote units that a ticker states; of its volume at its average or last price, if only that.

    >>> turnover({"quoteVolume": None, "baseVolume": 2.0, "vwap": None, "last": 10.0}), turnover({})
    (20.0, nan)
    """
    stated = ticker.get("quoteVolume")
    if stated is not None:
        return float(stated)
    volume, price = ticker.get("baseVolume"), ticker.get("vwap") or ticker.get("last")
    return math.nan if volume is None or price is None else float(volume) * float(price)


def changes(
    turnovers: Mapping[str, float], members: Collection[str], rule: Largest, always: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Who joins and who leaves, each in the order of their ranks; ties by name.

    >>> now = {"A/USDT": 5.0, "B/USDT": 4.0, "C/USDT": 3.0, "D/USDT": 2.0}
    >>> changes(now, ["C/USDT", "D/USDT"], Largest(2, 3))
    (['A/USDT', 'B/USDT'], ['D/USDT'])

    Args:
        turnovers: of all markets that may be chosen, in quote units; those that are NaN rank last.
        members: who is in now.
        rule: how many.
        always: who stays in whatever its rank.
    """
    ranked = sorted(turnovers, key=lambda symbol: (-_known(turnovers[symbol]), symbol))
    kept = set(ranked[: rule.keep])
    joins = [symbol for symbol in ranked[: rule.top] if symbol not in members]
    gone = sorted(symbol for symbol in members if symbol not in turnovers and symbol not in always)
    leaves = [symbol for symbol in ranked if symbol in members and symbol not in kept and symbol not in always]
    return joins, leaves + gone


def _known(turnover: float) -> float:
    return -math.inf if math.isnan(turnover) else turnover
