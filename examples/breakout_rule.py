"""A signal rule, and the indicator that it needs: out of the channel of the last 5m bars, if the score does not object.

tidewax laws examples/breakout_rule.py --config examples/settings.yaml
"""

import numpy as np

from tidewax import indicator, rule


@indicator(columns=("channel.upper", "channel.lower"), lookback=lambda length: length - 1)
def channel(high, low, length=20):
    """The highest high and the lowest low of the last `length` bars."""
    upper, lower = np.full(len(high), np.nan), np.full(len(low), np.nan)
    if len(high) >= length:
        windows = np.lib.stride_tricks.sliding_window_view
        upper[length - 1 :] = windows(high, length).max(axis=1)
        lower[length - 1 :] = windows(low, length).min(axis=1)
    return upper, lower


@rule(needs=("close", "score", "channel.upper@5m", "channel.lower@5m"))
def breakout(close, score, upper, lower):
    """+1 above the channel with a score from 50 on, -1 below it with one up to 50, else 0; a missing value compares as false."""
    return np.where((close > upper) & (score >= 50.0), 1, np.where((close < lower) & (score <= 50.0), -1, 0))
