"""What Binance tells of perpetuals alone: mark and index price, funding, open interest, and who is long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.simulator import binance_frames as made
from connectors.simulator.binance_queries import interval_ns, page
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import funding_rate, long_share, open_interest, premium
from connectors.simulator.world import World

_HISTORY: Final = ("openInterestHist", "globalLongShortAccountRatio")
FUTURES: Final = ("premiumIndex", "fundingRate", "fundingInfo", "openInterest", *_HISTORY)
"""The last parts of the paths that are answered here."""


class Futures:
    """Figures of perpetuals, at any time; all follow from the seed and from what traded."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, name: str, ledger: Ledger, query: Mapping[str, str], told_ns: int) -> Any:
        """What a request for one of `FUTURES` gets; `told_ns` is what clients take for the time."""
        listing, every = ledger.listing, self._world.funding_ns
        if name == "fundingInfo":
            return made.funding_info(listing, every)
        if name == "premiumIndex":
            return self._mark(ledger, self._world.now_ns, told_ns)
        if name == "openInterest":
            return made.open_interest(listing, open_interest(ledger, self._world.seed, self._world.now_ns), told_ns)
        if name == "fundingRate":
            return list(self._settled(ledger, page(query, every, ledger.origin_ns, self._world.now_ns, 100, 1_000)))
        every = interval_ns(query, "period")
        return list(self._past(name, ledger, page(query, every, ledger.origin_ns, self._world.now_ns, 30, 500), every))

    def mark_frame(self, ledger: Ledger, time_ns: int, event_ms: int) -> str:
        """A frame of `@markPrice`, of that time."""
        return made.mark_frame(self._mark(ledger, time_ns, time_ns) | {"time": event_ms})

    def _mark(self, ledger: Ledger, time_ns: int, told_ns: int) -> dict[str, Any]:
        price, seed = _price(ledger, time_ns), self._world.seed
        following = time_ns // self._world.funding_ns + 1
        figures = {"mark": price, "index": price / (1 + premium(ledger, seed, time_ns))}
        figures["rate"] = funding_rate(ledger, seed, following)
        return made.mark(ledger.listing, told_ns, figures, following * self._world.funding_ns)

    def _settled(self, ledger: Ledger, numbers: range) -> Iterator[dict[str, Any]]:
        for number in numbers:
            time_ns = number * self._world.funding_ns
            rate = funding_rate(ledger, self._world.seed, number)
            yield made.funding_row(ledger.listing, rate, _price(ledger, time_ns), time_ns)

    def _past(self, name: str, ledger: Ledger, numbers: range, every_ns: int) -> Iterator[dict[str, Any]]:
        seed = self._world.seed
        for time_ns in (number * every_ns for number in numbers):
            if name == "openInterestHist":
                contracts = open_interest(ledger, seed, time_ns)
                yield made.open_interest_row(ledger.listing, contracts, _price(ledger, time_ns), time_ns)
            else:
                yield made.long_short_row(ledger.listing, long_share(ledger, seed, time_ns), time_ns)


def _price(ledger: Ledger, time_ns: int) -> float:
    """That of the last trade before a time."""
    return ledger.price_before(ledger.id_at(time_ns))
