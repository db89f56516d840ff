"""Who votes for which instrument: what of the score its streams allow.

A score is not applicable to an instrument that has none of the streams it is made of, and a dimension not to one that none of its
scores is applicable to. What is not applicable counts as if it were not there; what should be there and is not, is missing.
Source: file 05 section 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from config.presets import DERIVATIVES
from events.feeds import BOOKS, FEEDS, TOPS
from operators.beta import REFERENCE
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


def why_not(dimension: str, known: Sequence[MicroScore], streams: Set[str], spot: bool) -> str | None:
    """Why a dimension is not applicable to an instrument, as a phrase; None where it is.

    Args:
        dimension: its name.
        known: all scores that there are.
        streams: those that the instrument has.
        spot: whether it is a spot market.

    >>> from operators.microstructure.scores import MICRO_SCORES
    >>> why_not("liquidity", MICRO_SCORES, {"trades"}, True)
    'it has no book levels, no best quotes'
    """
    scores = [score for score in known if score.dimension == dimension]
    if any(is_applicable(score, streams, spot) for score in scores):
        return None
    if dimension == SENTIMENT and spot:
        return "it is a spot market without the streams of a perpetual"
    needed = dict.fromkeys(name for score in scores for name in score.streams)
    if REFERENCE in needed:
        return "beta.reference is no other instrument of the run"
    return f"it has {', '.join(f'no {FEEDS[name].noun}' for name in needed)}" if needed else "it is off"


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
