"""Updates of books as rows: packed as they come, so that what waits is no more than their bytes."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from connectors.exchange.book_frames import Level, Update
from connectors.exchange.taps import TradeReader
from events.frames import Array
from events.rows import BOOK

_PACK: Final = Struct("=qqqqqqddhHHH").pack
"""One row of BOOK, which has no padding."""


class Packed(NamedTuple):
    """All rows of an update, as bytes: what waits in the queue of a feed."""

    rows: bytes


def packed(update: Update, at_ns: int, received_ns: int, seq: int, read: TradeReader) -> tuple[bytes, int]:
    """The rows of an update one behind the other, and how many they are; one that says "nothing" where it changes no level.

    >>> from events.schema import NEVER
    >>> reader = TradeReader(lambda trade: 0, lambda trade: 0, size=10.0)
    >>> data, n = packed(Update("X", 0, 5, 7, 9, 6, [(100.0, 2.0)], [(101.0, 0.0)]), 5, 6, 40, reader)
    >>> np.frombuffer(data, BOOK)[["seq", "price", "qty", "side", "last"]].tolist()
    [(40, 100.0, 20.0, 1, 0), (41, 101.0, 0.0, -1, 1)]

    Args:
        update: the update.
        at_ns: from when on it may be used.
        received_ns: when it was read.
        seq: of the first row; the others count on.
        read: of the instrument, for what it trades in contracts.
    """
    bids, asks = update.bids, update.asks
    if not read.plain:
        bids, asks = _in_base(bids, read), _in_base(asks, read)
    _, kind, _, first, last_id, prev = update[:6]
    pack, end = _PACK, seq + len(bids) + len(asks) - 1
    rows = [
        pack(at_ns, received_ns, k, first, last_id, prev, price, qty, 1, kind, k == end, 0)
        for k, (price, qty) in enumerate(bids, seq)
    ]
    rows += [
        pack(at_ns, received_ns, k, first, last_id, prev, price, qty, -1, kind, k == end, 0)
        for k, (price, qty) in enumerate(asks, seq + len(bids))
    ]
    if not rows:
        rows.append(pack(at_ns, received_ns, seq, first, last_id, prev, 0.0, 0.0, 0, kind, 1, 0))
    return b"".join(rows), len(rows)


def unpacked(parts: list[bytes]) -> Array:
    """Packed rows as an array, read-only."""
    return np.frombuffer(b"".join(parts), BOOK)


def _in_base(levels: list[Level], read: TradeReader) -> list[Level]:
    return [(price, read.base(qty, price)) for price, qty in levels]
