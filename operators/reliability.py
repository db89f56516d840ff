"""How often signals like one closed with a gain, read off a table that was counted offline; nothing is counted here.

Section 8 of the specification of confluence: buckets of strength, agreement and regime, each drawn towards the rate of all
outcomes by the weight of twenty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

DRAW: Final = 20
"""So many outcomes of the overall rate are added to each bucket."""

Bucket = tuple[int, int, str | None]


def bucket_of(score: float, agreement: float | None, regime: str | None) -> Bucket:
    """(strength in steps of 5 points, tercile of the agreement, regime); no agreement counts as one of 1.

    >>> bucket_of(73.1, 0.5, None), bucket_of(26.9, None, "TREND"), bucket_of(50.0, 0.49, None)
    ((4, 1, None), (4, 2, 'TREND'), (0, 0, None))
    """
    certain = 1.0 if agreement is None else agreement
    return math.floor(abs(score - 50) / 5), (certain >= 0.5) + (certain >= 0.8), regime


def reliability(table: Mapping[str, Any], score: float, agreement: float | None, regime: str | None) -> float:
    """The estimated rate of r_net > 0 of signals like this one, in [0, 1].

    (wins_b + 20 p0) / (n_b + 20) with p0 = wins / n of the table; p0 for a bucket that the table does not know. A bucket may have
    a rate `p_b` of its own (isotonic, Platt), which then stands in place of the formula.

    Args:
        table: with n, wins and buckets, as `tidewax outcomes --calibrate` makes it.
        score: of the signal.
        agreement: of the signal, None without.
        regime: its label, None without.

    >>> row = {"strength": 4, "tercile": 2, "regime": None, "n_b": 120, "wins_b": 70}
    >>> reliability({"n": 400, "wins": 200, "buckets": [row]}, 71.0, 0.9, None)
    0.5714285714285714
    >>> reliability({"n": 400, "wins": 200, "buckets": [row | {"p_b": 0.6}]}, 71.0, 0.9, None)
    0.6
    """
    p0: float = table["wins"] / table["n"]
    wanted = bucket_of(score, agreement, regime)
    for row in table["buckets"]:
        if (row["strength"], row["tercile"], row["regime"]) == wanted:
            own: float | None = row.get("p_b")
            rate: float = (row["wins_b"] + DRAW * p0) / (row["n_b"] + DRAW)
            return rate if own is None else own
    return p0
