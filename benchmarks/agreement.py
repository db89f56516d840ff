"""Contenders must have made the same bars before they are timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from events.frames import Array

Columns = Mapping[str, Any]
"""Columns of bars by name: a structured array, or a mapping to arrays."""

EXACT = ("ts_open", "open", "high", "low", "close", "n_trades")
SUMS = ("volume", "quote_volume", "buy_volume")
TOLERANCE = 1e-9


class Disagreement(Exception):
    """Two contenders made different bars, so comparing their speed would mean nothing."""


def same_bars(who: str, got: Columns, want: Array) -> None:
    """Check bars of a foreign contender: prices, times and counts exactly, sums to 1e-9; without bars that hold no trade.

    Raises:
        Disagreement: they differ.
    """
    want = want[want["n_trades"] > 0]
    for name in (*EXACT, *SUMS):
        column, expected = np.asarray(got[name]), want[name]
        if len(column) != len(expected):
            raise Disagreement(f"{who}: {len(column)} bars, not {len(expected)}")
        if name in EXACT:
            wrong = np.flatnonzero(column != expected)
        else:
            wrong = np.flatnonzero(~np.isclose(column, expected, rtol=TOLERANCE, atol=TOLERANCE))
        if len(wrong):
            i = int(wrong[0])
            raise Disagreement(f"{who}: {name} of bar {i} is {column[i]}, not {expected[i]}")


def same_rows(who: str, got: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    """Check streams of Tidewax, to the last bit.

    Raises:
        Disagreement: they differ.
    """
    for name, expected in want.items():
        found = got.get(name, expected[:0])
        if len(found) != len(expected):
            raise Disagreement(f"{who}: {len(found)} rows of {name}, not {len(expected)}")
        same = found == expected if isinstance(expected, tuple) else found.tobytes() == expected.tobytes()
        if not same:
            raise Disagreement(f"{who}: the rows of {name} are others")
