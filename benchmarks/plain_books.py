"""Books kept by other means, beside which that of the graph is timed: kernels alone, and plain Python. They derive nothing."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from events.frames import Array
from events.schema import BOOK_SNAPSHOT
from operators.maths import kernel
from operators.microstructure.levels import MOST_LEVELS, set_level

Side = list[tuple[float, float]]
"""Prices and quantities, the best first."""


@kernel
def _apply(rows: Array, levels: Array, counts: Array) -> None:
    """Put all rows into two sorted sides, one after the other; a snapshot empties them first."""
    fresh = True
    for i in range(len(rows)):
        row = rows[i]
        if fresh and row.kind == BOOK_SNAPSHOT:
            counts[0] = counts[1] = 0
        fresh = row.last != 0
        if row.side > 0:
            counts[0], _ = set_level(levels[0, 0], levels[0, 1], counts[0], row.price, row.qty)
        elif row.side < 0:
            counts[1], _ = set_level(levels[1, 0], levels[1, 1], counts[1], -row.price, row.qty)


def kernel_book(rows: Array) -> tuple[Side, Side]:
    """Bids and asks after all updates, of at most 1000 levels; continuity is taken for granted, and nothing is derived."""
    levels, counts = np.zeros((2, 2, MOST_LEVELS)), np.zeros(2, np.int64)
    _apply(rows, levels, counts)
    sides = []
    for side, sign in ((0, 1.0), (1, -1.0)):
        keys, sizes = levels[side, :, : counts[side]]
        sides.append([(sign * float(key), float(size)) for key, size in zip(keys[::-1], sizes[::-1])])
    return sides[0], sides[1]


class PlainBook:
    """A book as it is mostly written in Python: a dict a side and its prices in order, so that the best are always at hand."""

    def __init__(self) -> None:
        self.sizes: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.prices: tuple[list[float], list[float]] = ([], [])
        self.best = (0.0, 0.0)

    def take(self, snapshot: bool, changes: list[tuple[float, float, int]]) -> None:
        """The changes of one update: price, quantity and side."""
        if snapshot:
            self.sizes, self.prices = ({}, {}), ([], [])
        for price, quantity, side in changes:
            sizes, prices = (self.sizes[0], self.prices[0]) if side > 0 else (self.sizes[1], self.prices[1])
            if quantity:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = quantity
            elif price in sizes:
                del sizes[price]
                del prices[bisect_left(prices, price)]
        if self.prices[0] and self.prices[1]:
            self.best = self.prices[0][-1], self.prices[1][0]

    def sides(self) -> tuple[Side, Side]:
        """Bids and asks."""
        (bids, asks), (bid_prices, ask_prices) = self.sizes, self.prices
        return [(price, bids[price]) for price in reversed(bid_prices)], [(price, asks[price]) for price in ask_prices]


Changes = list[tuple[bool, list[tuple[float, float, int]]]]
"""Updates as Python has them: whether it is a snapshot, and what it changes."""


def as_python(rows: Array) -> Changes:
    """The updates of rows."""
    ends = (np.flatnonzero(rows["last"]) + 1).tolist()
    changes = [(price, qty, side) for price, qty, side in rows[["price", "qty", "side"]].tolist()]
    kinds = (rows["kind"] == BOOK_SNAPSHOT).tolist()
    return [
        (kinds[start], [change for change in changes[start:end] if change[2]]) for start, end in zip([0, *ends], ends)
    ]


def python_book(updates: Changes) -> tuple[Side, Side]:
    """Bids and asks after all updates."""
    book = PlainBook()
    for snapshot, changes in updates:
        book.take(snapshot, changes)
    return book.sides()
