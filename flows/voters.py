"""Who votes for which instrument: what of the score its streams allow.

A score is not applicable to an instrument that has none of the streams it is made of, and a dimension not to one that none of its
scores is applicable to. What is not applicable counts as if it were not there; what should be there and is not, is missing.
Source: file 05 section 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from config.presets import DERIVATIVES
from events.feeds import BOOKS, TOPS
from operators.confluence import Voters
from operators.microstructure.scores import MicroScore

SENTIMENT: Final = "sentiment"
LIQUIDITY: Final = "liquidity"


def is_applicable(score: MicroScore, streams: Set[str], spot: bool) -> bool:
    """Whether an instrument with these streams can have a score; sentiment is of derivatives, or of a spot market that has their
    streams.

    >>> from operators.microstructure.scores import MICRO_SCORES
    >>> fear = MICRO_SCORES[-1]
    >>> [is_applicable(fear, {"trades", "context"}, spot) for spot in (True, False)]
    [False, True]
    """
    if score.dimension == SENTIMENT and spot and not DERIVATIVES & streams:
        return False
    return not score.streams or bool(streams & set(score.streams))


def voters(
    scores: Sequence[MicroScore],
    dimensions: Sequence[str],
    weights: Mapping[str, float],
    theta_base: float,
    streams: Set[str],
    spot: bool,
) -> Voters:
    """Who votes for an instrument.

    Args:
        scores: all that vote for any instrument; those made of bars name no streams.
        dimensions: theirs, in registry order.
        weights: of the dimensions that vote for this one.
        theta_base: P of the prior of its preset.
        streams: those that it has.
        spot: whether it is a spot market.
    """
    possible = {score.column: is_applicable(score, streams, spot) for score in scores}
    left = {score.dimension for score in scores if possible[score.column]}
    found = {name: weights.get(name, 0.0) if name in left else 0.0 for name in dimensions}
    judged = {"book": BOOKS in streams and found.get(LIQUIDITY, 0.0) > 0.0, "spread": bool({BOOKS, TOPS} & streams)}
    return Voters(
        weights=tuple(found.values()),
        theta_base=theta_base,
        silent=tuple(score.column for score in scores if found[score.dimension] == 0.0 or not possible[score.column]),
        gates=tuple(name for name, is_judged in judged.items() if is_judged),
    )
