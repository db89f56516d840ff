"""An indicator: by how much the price rose over the last bars, in percent.

tidewax laws examples/momentum.py
"""

import numpy as np

from tidewax import indicator


@indicator(lookback=lambda length: length)
def momentum(close, length=10):
    """Percent between the close and that `length` bars before; NaN where there are too few bars."""
    out = np.full(len(close), np.nan)
    out[length:] = 100.0 * (close[length:] / close[:-length] - 1.0)
    return out
