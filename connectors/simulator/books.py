"""What a book is here: lots by price in ticks, at any time, and from change to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from events.frames import Array

Side = dict[int, int]
"""Lots by price in ticks."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a book at one moment.

    Attributes:
        time_ns: when.
        first_id, update_id: of the update, the second is that of the book after it; the first is 0 if nothing was updated.
        ended: from when to when what is over with it lasted, None if nothing is and more comes of it: a trade.
        bids, asks: the lots of every level that was touched, 0 where it is gone.
        best: ticks and lots of the best bid, then of the best ask, after it.
    """

    time_ns: int
    first_id: int
    update_id: int
    ended: tuple[int, int] | None
    bids: Side
    asks: Side
    best: tuple[int, int, int, int]


class Followed(Protocol):
    """A book that moves on with time.

    Attributes:
        bids, asks: lots by price in ticks.
        update_id: of it.
        time_ns: of the last update.
        best: ticks and lots of the best bid, then of the best ask, as they are told.
        due_ns: when it changes next, if nothing trades until then.
    """

    bids: Side
    asks: Side
    update_id: int
    time_ns: int

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, best ask."""

    @property
    def due_ns(self) -> int:
        """When it changes next."""

    def advance(self, now_ns: int, rows: Array | None) -> Iterator[Change]:
        """Every change until that time, with the TRADE rows that are new."""


class Books(Protocol):
    """The book of one instrument at any time."""

    def at(self, time_ns: int, next_id: int) -> tuple[int, Side, Side]:
        """(update id, bids, asks) at that time, when the next trade will have that id; the best prices first."""

    def follow(self, now_ns: int) -> Followed:
        """The book from now on."""
