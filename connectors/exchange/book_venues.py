"""What is particular about the order books of each venue: whence snapshots come, how deep they are, how one is asked for anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from connectors.exchange.book_state import MOST
from connectors.exchange.venues import Market

Message = Mapping[str, Any]
_OWN_ID: Final = 1_000_000_000
"""Of messages to Binance, that ccxt counts from 1 on."""


@dataclass(frozen=True)
class BookVenue:
    """The books of a venue.

    Attributes:
        again: the messages that subscribe to a market anew, by its id.
        pushed: whether that makes the venue push a snapshot; else it is fetched over REST.
        levels: levels of each side in a snapshot, at most.
        depth: levels of each side that it keeps sending, MOST where it sends all.
        limit: what ccxt is to subscribe to, None for what it does by itself.
        params: of a subscription.
        chunk: symbols of one subscription, at most.
        checked: whether its updates carry a checksum of the book.
        beacon: whether a busy market is subscribed to as well, to show that the connection pushes.
    """

    again: Callable[[str], Sequence[Message]]
    levels: int
    pushed: bool = True
    depth: int = MOST
    limit: int | None = None
    params: Message = field(default_factory=dict)
    chunk: int = 50
    checked: bool = False
    beacon: bool = True

    def digits(self, market: Market) -> tuple[int, int] | None:
        """(of prices, of quantities) after the point, where there are checksums."""
        if not self.checked:
            return None
        precision = market["precision"]
        return _digits(precision["price"]), _digits(precision["amount"])


def _digits(step: float) -> int:
    """The digits after the point of multiples of a step.

    >>> _digits(0.1), _digits(1e-08), _digits(1.0)
    (1, 8, 0)
    """
    return max(0, -int(Decimal(str(step)).normalize().as_tuple().exponent))


def _binance(market: str) -> list[Message]:
    streams = [f"{market.lower()}@depth@100ms"]
    return [{"method": name, "params": streams, "id": _OWN_ID} for name in ("UNSUBSCRIBE", "SUBSCRIBE")]


def _kraken(market: str) -> list[Message]:
    channel = {"channel": "book", "symbol": [market]}
    return [
        {"method": "unsubscribe", "params": {**channel, "depth": 1_000}},
        {"method": "subscribe", "params": {**channel, "depth": 1_000, "snapshot": True}},
    ]


def _okx(market: str) -> list[Message]:
    arguments = [{"channel": "books", "instId": market}]
    return [{"op": name, "args": arguments} for name in ("unsubscribe", "subscribe")]


def _bybit(market: str) -> list[Message]:
    return [{"op": name, "args": [f"orderbook.200.{market}"]} for name in ("unsubscribe", "subscribe")]


def _coinbase(market: str) -> list[Message]:
    return [
        {"type": name, "product_ids": [market], "channels": ["level2_batch"]} for name in ("unsubscribe", "subscribe")
    ]


BOOK_VENUES: Final[Mapping[str, BookVenue]] = {
    "binance": BookVenue(_binance, levels=1_000, pushed=False),
    "kraken": BookVenue(_kraken, levels=1_000, depth=1_000, limit=1_000, checked=True),
    "okx": BookVenue(_okx, levels=400, depth=400),
    "coinbase": BookVenue(
        _coinbase,
        levels=MOST,
        params={"channels": ["level2_batch"]},  # every 50 ms, and the one that asks for no key
        chunk=1,
        beacon=False,  # a snapshot of it is of several megabytes
    ),
    "bybit": BookVenue(_bybit, levels=200, depth=200, limit=200, chunk=10),
}
"""By the name that instruments have before the colon."""
