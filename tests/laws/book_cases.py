"""Cases of the order book: one that holds, one that breaks again and again, one that is not known for a while."""

from __future__ import annotations

from typing import Any

import numpy as np
from beside import book
from lab import START

from events.feeds import BOOKS
from events.frames import Array, control
from events.schema import HOLE, RECONNECT, VOID
from events.times import MINUTE_NS, SECOND_NS
from operators.microstructure.book import BookMinutes, BookSettings

MINUTE = START // MINUTE_NS * MINUTE_NS
VOIDS = (
    (MINUTE + 61 * MINUTE_NS + 7, MINUTE + 62 * MINUTE_NS),
    (MINUTE + 62 * MINUTE_NS + 1, MINUTE + 63 * MINUTE_NS),  # where the one before ends
    (MINUTE + 70 * MINUTE_NS, MINUTE + 71 * MINUTE_NS),  # from a boundary on
    (MINUTE + 80 * MINUTE_NS + 20 * SECOND_NS, MINUTE + 80 * MINUTE_NS + 30 * SECOND_NS),  # within a minute
    (MINUTE + 100 * MINUTE_NS + 30 * SECOND_NS, MINUTE + 126 * MINUTE_NS),
)
"""Spans in which a book is not known, though its updates come later."""


def fine_book(n: int, seed: int, **how: float) -> Array:
    """A random book of ticks that are half a basis point, so that there is depth within every band."""
    rows = book(n, seed, 8 * SECOND_NS, **how)
    rows["price"][rows["side"] != 0] += 9900
    return rows


def book_cases() -> dict[str, tuple[Any, ...]]:
    """By name what a `Case` is made of."""
    blind = np.concatenate([control(VOID, since, since, until) for since, until in VOIDS])
    torn = np.concatenate([control(HOLE, since, since, since + SECOND_NS, RECONNECT) for since, _ in VOIDS])
    uncapped = BookSettings(depth=20, cap_mult=None)
    return {
        "BookMinutes": (
            lambda: BookMinutes(BookSettings()), {BOOKS: fine_book(1_500, 21)}, {}, ("book.1m",)
        ),
        "BookMinutes, breaking": (
            lambda: BookMinutes(uncapped), {BOOKS: fine_book(1_500, 22, skips=0.01, crossed=0.01)},
            {}, ("book.1m", "gaps.book", "dead_letters"),
        ),
        "BookMinutes, not known for a while": (
            lambda: BookMinutes(BookSettings()), {BOOKS: fine_book(1_500, 23, skips=0.002)},
            {BOOKS: blind}, ("book.1m", "gaps.book"),
        ),
        "BookMinutes, torn": (
            lambda: BookMinutes(BookSettings()), {BOOKS: fine_book(1_500, 24, skips=0.02)},
            {BOOKS: torn}, ("book.1m", "gaps.book"),
        ),
    }  # fmt: skip
