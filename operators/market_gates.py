"""The gates that judge the market itself: whether its book is known, and whether its spread can be paid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from events.frames import Array
from operators.ballot import BesideFeatures

BOOK_AGE_S: Final = 30.0
"""The gate `book` is shut where the last update of the book is older."""


class MarketGates:
    """The gates `book` and `spread` of base bars, read from the columns of "micro" of the base timeframe.

    Args:
        base: name of the base timeframe.
        beside: the streams beside the features; without "micro" among them, both gates are always open.
        most_spread_bps: the gate `spread` is open up to this spread in basis points,
        most_spread_pctl: or up to this rank of it.
    """

    def __init__(
        self, base: str, beside: Sequence[BesideFeatures], most_spread_bps: float, most_spread_pctl: float
    ) -> None:
        self.stream = f"micro.{base}"
        self.most = {"spread_bps": most_spread_bps, "spread_pctl": most_spread_pctl}
        columns = next((stream.columns for stream in beside if stream.name == "micro"), ())
        self.index = {name: place for place, name in enumerate(columns)}

    def judge(
        self, joined: Mapping[str, tuple[Array, Array]], gates: Collection[str], bars: int
    ) -> tuple[Array, Array]:
        """Whether `book` and `spread` are open, per bar: always, if not among `gates`; never where a figure is missing."""
        book = spread = np.ones(bars, np.bool_)
        if "book" in gates:
            book = self._column(joined, "book_age_s") <= BOOK_AGE_S  # there is an age while the book is SYNCED
        if "spread" in gates:
            spread = np.logical_or(*(self._column(joined, name) <= most for name, most in self.most.items()))
        return book, spread

    def _column(self, joined: Mapping[str, tuple[Array, Array]], name: str) -> Array:
        values: Array = joined[self.stream][0]["values"][:, self.index[name]]
        return values
