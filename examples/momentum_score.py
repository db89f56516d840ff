"""A score: the direction of `momentum` (examples/momentum.py), measured in average true ranges.

It votes in a dimension of its own, whose weight stands in the settings: `dimensions.weights.momentum`.

tidewax laws examples/momentum_score.py --config examples/settings.yaml
"""

import numpy as np

from tidewax import score


@score(dimension="momentum", weight=1.0)
def momentum_score(momentum, close, atr_14, width=4.0):
    """The rise in ATR over `width`, kept within -1 and 1; missing where the price does not move."""
    rise = close - close / (1.0 + momentum / 100.0)
    moves = atr_14 > 0.0
    return np.where(moves, np.clip(rise / np.where(moves, width * atr_14, 1.0), -1.0, 1.0), np.nan)
