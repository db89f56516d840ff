"""Plugins that break one law each, and what they break is in their name."""

import itertools

import numpy as np

from tidewax import indicator, rule, score

_calls = itertools.count()


@indicator
def peeks_one_bar_ahead(close):
    return np.append(close[1:], np.nan)


@indicator
def knows_the_highest(close):
    return close / close.max()


@indicator(inputs=("peeks_one_bar_ahead",))
def follows_the_peek(peek):
    return 2.0 * peek + np.append(peek[1:], 0.0)


@indicator
def raises_on_a_price(close, price=-1.0):
    if price in close:
        raise ArithmeticError("a price it cannot bear")
    return 2.0 * close


@indicator
def raises_on_few_bars(close):
    if len(close) < 10:
        raise IndexError("ten bars, please")
    return close.copy()


@indicator
def wrong_length(close):
    return close[1:]


@indicator
def wrong_shape(close):
    return np.stack([close, close])


@indicator
def gives_infinity(close, price=-1.0):
    return 1.0 / (close - price)


@indicator
def gives_infinity_when_flat(high, low):
    return 1.0 / (high - low)


@indicator
def changes_its_input(close):
    close[0] = 1.0
    return close


@indicator
def never_forgets(volume):
    return np.cumsum(volume)


@indicator(stable=20)
def forgets_too_slowly(close):
    out = close.copy()
    for i in range(1, len(out)):
        out[i] = 0.9 * out[i - 1] + 0.1 * close[i]
    return out


@indicator
def begins_late(close):
    return np.where(np.arange(len(close)) < 20, np.nan, close)


@indicator
def never_has_a_value(close):
    return np.full(len(close), np.nan)


@indicator
def is_another_each_time(close):
    return close + next(_calls)


@indicator(lookback=1, step=lambda last, bar: (bar.close, np.nan if last is None else bar.close / last))
def steps_elsewhere(close):
    return np.append(np.full(min(1, len(close)), np.nan), np.diff(close))


@score(dimension="technical", weight=0.1, needs=("rsi_14",))
def compares_rows(rsi):
    return np.tanh((rsi - rsi.mean()) / 50.0)


@score(dimension="technical", weight=0.1, needs=("rsi_14",))
def leaves_the_range(rsi):
    return (rsi - 50.0) / 10.0


@rule
def looks_around(score):
    return np.where(score > np.nan_to_num(score, nan=50.0).mean(), 1, 0)


@rule
def has_two_levels(score):
    return np.where(score > 55.0, 2, 0)


@rule(needs=("close", "rsi_14@5m"))
def wants_a_value(close, rsi):
    if np.isnan(rsi).any():
        raise ValueError("rsi is missing")
    return np.sign(rsi - 50.0)
