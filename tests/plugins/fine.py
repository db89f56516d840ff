"""Plugins that keep every law: compiled, recursive, silent, composed, on one timeframe, with parameters in the name."""

import numba
import numpy as np

from tidewax import indicator, rule, score


@indicator(columns=("smooth_{percent}",), stable=lambda percent: 20 * (100 // percent), version=2)
@numba.njit(cache=True)
def smooth(close, percent=10):
    out = close.copy()
    for i in range(1, len(out)):
        out[i] = out[i - 1] + percent / 100.0 * (close[i] - out[i - 1])
    return out


@indicator(inputs=("close", "smooth_20"), columns=("above",), silent=True)
def above(close, smoothed):
    return np.where(close > smoothed, 1.0, -1.0), close == smoothed


@indicator(timeframes=("5m",), lookback=1)
def change(close):
    return np.append(np.full(min(1, len(close)), np.nan), np.diff(close))


def highest_step(state, bar, length=50):
    """The newest highs of `length` bars."""
    highs = [*(state or []), bar.high][-length:]
    return highs, max(highs) if len(highs) == length else np.nan


@indicator(lookback=lambda length: length - 1, step=highest_step)
def highest(high, length=50):
    out = np.full(len(high), np.nan)
    for i in range(length - 1, len(out)):
        out[i] = high[i - length + 1 : i + 1].max()
    return out


@score(dimension="technical", weight=0.2, name="side")
def side_score(above):
    return above


@score(dimension="slow", weight=1.0, needs=("change", "atr_14"))
def change_score(change, atr):
    return np.clip(change / np.where(atr > 0, atr, 1.0), -1.0, 1.0)


@rule(needs=("state", "rsi_14@5m", "technical.side@1m"))
def careful(state, rsi, side, most=80.0):
    wanted = np.where(np.isnan(side), 0.0, state)
    return np.where((wanted > 0) & (rsi > most), 0, wanted)
