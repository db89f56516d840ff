"""Updates of books as JSON: one message each, whole, in ccxt's form of a book."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from connectors.kafka.json_rows import MS_NS, as_text, decoded, from_text, inexact, numbers, symbol_of, times
from connectors.kafka.undecodable import Undecodable
from events.feeds import BOOKS
from events.frames import Array, concat
from events.rows import BOOK
from events.schema import BOOK_SNAPSHOT, NEVER

_Level = tuple[float | None, float | None]


class Update(msgspec.Struct, omit_defaults=True, gc=False):
    """An update, or a snapshot, of a book: levels as (price, quantity), bids before asks, a quantity of 0 deletes one. `nonce` is
    the id that it ends with, `first` the one it begins with and `previous` that of the update before, null where the venue does
    not say; `seq` counts levels since the source began; `ns` is what `timestamp` (ms) leaves of the nanoseconds. An update that
    this does not say exactly has the bytes of its rows in `rows` (base64) as well, and they decide.
    """

    symbol: str
    timestamp: int
    nonce: int | None
    bids: list[_Level]
    asks: list[_Level]
    ts_recv: int
    seq: int
    snapshot: bool = False
    first: int | None = None
    previous: int | None = None
    ns: int = 0
    flags: int = 0
    rows: str | None = None


class JsonBooks:
    """Updates of books.

    >>> wire = JsonBooks()
    >>> levels = [(10**9, 10**9 + 5, 4, 8, 9, 7, 100.0, 2.0, 1, 0, 0, 0), (10**9, 10**9 + 5, 5, 8, 9, 7, 101.0, 0.0, -1, 0, 1, 0)]
    >>> [(value, count)] = wire.encode("x:A/B", np.array(levels, BOOK))
    >>> print(count, value.decode()[:84])
    2 {"symbol":"A/B","timestamp":1000,"nonce":9,"bids":[[100.0,2.0]],"asks":[[101.0,0.0]]
    >>> wire.decode([value])[0].tolist() == levels
    True
    """

    def __init__(self) -> None:
        self._encoder, self._decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Update)

    def encode(self, instrument: str, rows: Array) -> list[tuple[bytes, int]]:
        """A value for each update, with its number of rows."""
        ends = np.flatnonzero(rows["last"]) + 1
        bounds = [0, *ends.tolist()]
        if bounds[-1] < len(rows):
            bounds.append(len(rows))
        parts = [rows[a:b] for a, b in pairwise(bounds)]
        symbol = symbol_of(instrument)
        updates = [_update(symbol, part) for part in parts]
        said, odd, at = _rows(updates)[0], inexact(rows), 0
        for update, part in zip(updates, parts):
            n = len(part)
            if said[at : at + n].tobytes() != part.tobytes() or odd[at : at + n].any():
                update.rows = as_text(part)
            at += n
        return [(self._encoder.encode(update), len(part)) for update, part in zip(updates, parts)]

    def decode(self, values: Sequence[bytes]) -> tuple[Array, list[int]]:
        """The rows of these values, and how many each has.

        Raises:
            Undecodable: a value is something else.
        """
        updates = decoded(self._decoder, values, BOOKS)
        try:
            rows, counts = _rows(updates)
        except (ValueError, OverflowError) as error:
            raise Undecodable(f"it holds a number out of range: {error}") from error
        if not any(update.rows for update in updates):
            return rows, counts
        ends = np.cumsum(counts)
        parts = [
            rows[end - n : end] if update.rows is None else from_text(update.rows, BOOK)
            for update, end, n in zip(updates, ends.tolist(), counts)
        ]
        return concat(parts).copy(), [len(part) for part in parts]


def _update(symbol: str, rows: Array) -> Update:
    at, received, seq, first, last, previous, *_, kind, _, flags = rows[0].item()
    side = rows["side"]
    return Update(
        symbol,
        at // MS_NS,
        _known(last),
        _levels(rows[side > 0]),
        _levels(rows[side < 0]),
        received,
        seq,
        kind == BOOK_SNAPSHOT,
        _known(first),
        _known(previous),
        at % MS_NS,
        flags,
    )


def _known(number: int) -> int | None:
    return None if number == NEVER else number


def _levels(rows: Array) -> list[Any]:
    return list(zip(rows["price"].tolist(), rows["qty"].tolist()))


def _rows(updates: Sequence[Update]) -> tuple[Array, list[int]]:
    """The rows of updates, by all but `rows`; and how many each has, of which there is one even where it changes no level.

    Raises:
        ValueError, OverflowError: a number is null or out of range.
    """
    empty = (0.0, 0.0)
    levels = [level for one in updates for level in (one.bids + one.asks or [empty])]
    bids, asks = [len(one.bids) for one in updates], [len(one.asks) for one in updates]
    counts = [max(1, a + b) for a, b in zip(bids, asks)]
    rows = np.empty(len(levels), BOOK)
    each: dict[str, Any] = {
        "available_at": times([one.timestamp for one in updates], [one.ns for one in updates]),
        "ts_recv": [one.ts_recv for one in updates],
        "u_first": [one.first for one in updates],
        "u_last": [one.nonce for one in updates],
        "u_prev": [one.previous for one in updates],
        "kind": [BOOK_SNAPSHOT if one.snapshot else 0 for one in updates],
        "flags": [one.flags for one in updates],
    }
    for name, values in each.items():
        rows[name] = np.repeat(numbers(values, BOOK[name]) if isinstance(values, list) else values, counts)
    starts = np.cumsum(counts) - counts
    within = np.arange(len(levels)) - np.repeat(starts, counts)
    rows["seq"] = np.repeat(numbers([one.seq for one in updates], BOOK["seq"]), counts) + within
    rows["side"] = np.where(within < np.repeat(bids, counts), 1, np.where(np.repeat(asks, counts) > 0, -1, 0))
    pairs = np.array(levels, np.float64)
    rows["price"], rows["qty"] = pairs[:, 0], pairs[:, 1]
    rows["last"] = within == np.repeat(counts, counts) - 1
    return rows, counts
