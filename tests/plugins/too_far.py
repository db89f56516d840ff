"""A score that leaves its range, one that raises on some rows, and a rule with a direction that there is not."""

import numpy as np

from tidewax import rule, score


@score(dimension="technical", weight=0.1, needs=("rsi_14",))
def leaves_the_range(rsi):
    return (rsi - 50.0) / 10.0


@score(dimension="technical", weight=0.1, needs=("rsi_14",))
def raises_when_low(rsi):
    if (rsi < 30.0).any():
        raise ValueError("too low")
    return np.tanh((rsi - 50.0) / 20.0)


@rule
def has_two_levels(score):
    return np.where(score > 55.0, 2, 0)
