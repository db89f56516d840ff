"""Which markets of an exchange a run follows: the largest by turnover, with hysteresis so that those near the edge stay put."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from connectors.exchange.client import kind_of
from connectors.exchange.venues import VENUES, Market
from events.feeds import FEEDS, UNIVERSE
from events.frames import Array, Frame, control
from events.rows import MEMBER_ROW, UNIVERSE_ROW
from events.schema import FOREVER, LEAVE, NEVER

_LONGEST: Final = MEMBER_ROW["member"].itemsize - 1 - max(map(len, VENUES))
"""So many bytes a symbol may have."""


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

    @property
    def like(self) -> str:
        """A symbol of such a market, which need not exist."""
        return f"BTC/{self.quote}" if self.market == "spot" else f"BTC/{self.quote}:{self.quote}"

    @property
    def asked(self) -> Mapping[str, str]:
        """What tells ccxt to ask for such markets."""
        return {"type": "spot"} if self.market == "spot" else {"type": "swap", "subType": "linear"}

    def candidate(self, market: Market) -> bool:
        """Whether a market, as ccxt describes it, may be chosen: it is active, and a contract of it is linear.

        >>> spot = {"symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "active": True}
        >>> Largest(1, 2).candidate(spot), Largest(1, 2, quote="USD").candidate(spot)
        (True, False)
        """
        return (
            kind_of(market["symbol"]) == self.market
            and len(market["symbol"].encode()) <= _LONGEST
            and market["quote"] == self.quote
            and market["base"] not in self.never
            and market.get("active") is not False
            and (self.market == "spot" or bool(market.get("swap") and market.get("linear")))
        )


def few(turnovers: Mapping[str, float], members: Collection[str]) -> bool:
    """Whether so few markets have a turnover that something must be wrong with the answer.

    >>> few({"A/USDT": 1.0}, ["A/USDT", "B/USDT", "C/USDT"]), few({}, []), few({"A/USDT": 1.0}, ["B/USDT"])
    (True, True, False)
    """
    known = sum(not math.isnan(value) for value in turnovers.values())
    return known == 0 or 2 * known < len(members)


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


class Changes(NamedTuple):
    """What a look at the turnovers of an exchange has found: who joins, who leaves, and the turnover of each."""

    joins: tuple[str, ...]
    leaves: tuple[str, ...]
    turnovers: Mapping[str, float]


def joining(instrument: str, now_ns: int, turnover: float, lacks: Iterable[str] = ()) -> list[tuple[str, Frame]]:
    """What is said of an instrument that joins, before anything else of it: that it does, and which streams it lacks."""
    joins = Frame(instrument, UNIVERSE, _row(now_ns, turnover, 1), NEVER)
    none = [Frame(instrument, name, FEEDS[name].empty, FOREVER) for name in sorted(lacks)]
    return [(instrument, frame) for frame in (joins, *none)]


def leaving(instrument: str, streams: Iterable[str], now_ns: int, turnover: float | None) -> list[tuple[str, Frame]]:
    """What is said of an instrument that leaves, last of all: that nothing more comes of any of its streams.

    Args:
        instrument: which.
        streams: those of the run.
        now_ns: the source clock; nothing that was said of the instrument is of a later time.
        turnover: of 24 hours, None if it is not traded any more.
    """
    said = control(LEAVE, now_ns, now_ns)
    out = [Frame(instrument, name, FEEDS[name].empty, now_ns + 1, said) for name in streams if name != UNIVERSE]
    row = _row(now_ns, math.nan if turnover is None else turnover, -1)
    return [(instrument, frame) for frame in (*out, Frame(instrument, UNIVERSE, row, now_ns + 1, said))]


def _row(now_ns: int, turnover: float, change: int) -> Array:
    rows = np.array([(now_ns, now_ns, now_ns, turnover, change, 0)], UNIVERSE_ROW)
    rows.flags.writeable = False
    return rows


def _known(turnover: float) -> float:
    return -math.inf if math.isnan(turnover) else turnover
