"""Dimensions: what a score is made of. A score column maps feature columns of one bar to a direction u in [-1, 1]."""

from operators.dimensions.base import Score
from operators.dimensions.smart_money import SMART_MONEY
from operators.dimensions.structure import STRUCTURE
from operators.dimensions.technical import TECHNICAL
from operators.dimensions.volume import VOLUME

SCORES: tuple[Score, ...] = (*SMART_MONEY, *VOLUME, *STRUCTURE, *TECHNICAL)
"""All score columns, in registry order: sums run in this order."""

DIMENSIONS: tuple[str, ...] = tuple(dict.fromkeys(score.dimension for score in SCORES))
"""The dimensions there are, in registry order."""

UNBLENDED: tuple[str, ...] = ("liquidity", "sentiment")
"""The dimensions that are of the base timeframe alone: what they are made of has no bars."""

__all__ = ["DIMENSIONS", "SCORES", "UNBLENDED", "Score"]
