"""Order blocks and levels against models written from the definitions, and the corners of sweeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_indicator_reference import grid, series2

from operators.indicators.structure import structure, swings
from operators.indicators.zones import levels, order_blocks

seeds = st.integers(0, 2**32 - 1)


def modelled_blocks(bars, atr, broken):
    """(score, bulls, bears) per bar, zones as plain tuples (direction, bottom, top, bar)."""
    zones, out = [], []
    for t, close in enumerate(bars.close):
        zones = [
            z for z in zones if not (close < z[1] if z[0] > 0 else close > z[2]) and t - z[3] < 100
        ]  # fmt: skip
        if broken[t] and t and abs(close - bars.open[t]) >= 1.5 * atr[t - 1]:
            side = 1 if broken[t] > 0 else -1
            against = [j for j in range(max(t - 20, 0), t) if (bars.close[j] - bars.open[j]) * side < 0]
            if against:
                j = against[-1]
                ends = (bars.low[j], bars.open[j]) if side > 0 else (bars.open[j], bars.high[j])
                zones.append((side, *ends, t))
        total = 0.0
        for side, bottom, top, made in zones:
            away = 0.0 if bottom <= close <= top else min(abs(close - bottom), abs(close - top))
            total += side * 2 ** (-(t - made) / 25) * math.exp(-away / atr[t])
        sides = [z[0] for z in zones]
        out.append((math.tanh(total) if zones else math.nan, sides.count(1), sides.count(-1)))
    return np.array(out).T


@given(seed=seeds, often=st.booleans())
def test_order_blocks_agree_with_the_model(seed, often):
    bars = grid(seed, 420)
    atr = np.maximum(bars.atr(), 0.01)
    broken = structure(bars.high, bars.low, bars.close, atr)[3]
    if often:  # as if every bar in 7 broke something, within what a side may hold
        broken = np.where(np.arange(len(broken)) % 7 == 0, np.sign(bars.close - bars.open), 0.0)
    atr = atr / 3
    score, silent, bulls, bears, created, bottom, top = order_blocks(*bars[1:5], atr, broken)
    known = ~np.isnan(atr)
    for column, expected in zip((score, bulls, bears), modelled_blocks(bars, atr, broken)):
        np.testing.assert_allclose(column[known], expected[known], rtol=0, atol=1e-12)
    assert ((silent == 1) == ((bulls + bears == 0) & (np.arange(len(atr)) >= 10))).all()
    assert (np.isnan(bottom) == (created == 0)).all()
    assert (top[created != 0] >= bottom[created != 0]).all()


def test_a_side_keeps_its_twenty_newest_zones():
    open_, close = np.full(37, 10.0), np.full(37, 11.0)
    open_[[0, 10, 25]], close[[0, 10, 25]] = (10.5, 11.0, 11.0), (10.25, 10.5, 10.5)  # the bars that closed lower
    close[36] = 10.4  # below the zones made of bars 10 and 25, not below those of bar 0
    broken = np.ones(37)
    broken[[0, 10, 25, 36]] = 0.0, -1.0, 0.0, 0.0
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    bulls, bears = order_blocks(open_, high, low, close, np.full(37, 0.1), broken)[2:4]
    assert bulls[[0, 1, 9, 10, 21, 22, 35, 36]].tolist() == [0, 1, 9, 9, 20, 20, 20, 0]
    assert bears[[9, 10, 36]].tolist() == [0, 1, 1]


def test_a_zone_ends_by_a_close_beyond_it_or_by_age():
    open_ = np.array([10.0, 9.0] + [12.0] * 103)
    close = np.array([9.0] + [12.0] * 104)
    high, low, atr, broken = np.maximum(open_, close), np.minimum(open_, close), np.ones(105), np.zeros(105)
    broken[1] = 1.0
    score, silent, bulls, *_ = order_blocks(open_, high, low, close, atr, broken)
    assert bulls[[0, 1, 100, 101]].tolist() == [0, 1, 1, 0]
    assert (silent[101], math.isnan(score[101])) == (1, True)
    close[50] = 9.0
    assert order_blocks(open_, high, low, close, atr, broken)[2][50] == 1
    close[50] = 8.99
    assert order_blocks(open_, high, low, close, atr, broken)[2][50] == 0
    atr[1:] = 0.0
    score, silent, *_ = order_blocks(open_, high, low, close, atr, broken)
    assert (math.isnan(score[30]), silent[30]) == (True, 0)  # missing, not silent


def modelled_levels(highs, lows, close, atr):
    """(d_res, d_sup, res_touches, sup_touches) per bar."""
    known, out = [], []
    for t in range(len(close)):
        fresh = [x for x in (highs[t], lows[t]) if not math.isnan(x)]
        if fresh:
            known.append(fresh)
        newest = []
        for group in reversed(known):
            if len(newest) + len(group) > 20:
                break
            newest += group
        groups = []
        for price in sorted(newest):
            if groups and price - groups[-1][-1] < 0.5 * atr[t]:
                groups[-1].append(price)
            else:
                groups.append([price])
        ups = [((math.fsum(g) / len(g) - close[t]) / atr[t], len(g)) for g in groups]
        above = min((x for x in ups if x[0] > 1e-9), default=(math.nan, math.nan))
        below = max((x for x in ups if x[0] < -1e-9), default=(math.nan, math.nan))
        out.append((above[0], -below[0], above[1], below[1]))
    return np.array(out).T


@given(seed=seeds, k=st.sampled_from([1, 2, 5]))
def test_levels_agree_with_the_model(seed, k):
    bars = grid(seed, 420)
    atr = np.maximum(bars.atr(), 0.01)
    highs, lows = swings(bars.high, bars.low, k)
    *columns, no_res, no_sup = levels(highs, lows, bars.close, atr, k)
    from_here = 14
    for column, expected in zip(columns, modelled_levels(highs, lows, bars.close, atr)):
        np.testing.assert_allclose(column[from_here:], expected[from_here:], rtol=1e-9)
    for column, silent in zip(columns, (no_res, no_sup)):
        assert (silent[from_here:] == np.isnan(column[from_here:])).all()


def test_levels_need_atr_and_are_silent_on_one_side():
    bars = series2(600)
    pivots = swings(bars.high, bars.low)
    d_res, d_sup, _, _, no_res, no_sup = levels(*pivots, bars.close, bars.atr())
    assert np.isnan(d_res[:14]).all()
    assert not (no_res[:14] | no_sup[:14]).any()  # cold, not silent
    assert 300 < (np.isfinite(d_res) & np.isfinite(d_sup)).sum() < 600
    assert all(not column.any() or np.isnan(column).all() for column in levels(*pivots, bars.close, np.zeros(600)))
    assert levels(*pivots, np.full(600, 1e6), bars.atr())[4][14:].all()


def test_levels_half_an_atr_apart_stay_apart():
    highs, none, close = np.array([12.0, 12.5, 12.75]), np.full(3, math.nan), np.full(3, 11.0)
    d_res, _, touches, *_ = levels(highs, none, close, np.ones(3), 0)
    assert (d_res.tolist(), touches.tolist()) == ([1.0, 1.0, 1.0], [1, 1, 1])
    assert levels(highs, none, np.full(3, 12.25), np.ones(3), 0)[2].tolist()[1:] == [1, 2]
    assert levels(highs, none, close, np.full(3, 1.25), 0)[2].tolist() == [1, 2, 3]


def swept(low, high, close, atr=1.0):
    """Sweep events from bar 5 on, after a swing high of 11 and a swing low of 9, both confirmed by bar 4."""
    highs = np.array([10.0, 10.0, 11.0, 10.0, 10.0, *high])
    lows = np.array([9.5, 9.5, 9.0, 9.5, 9.5, *low])
    closes = np.array([9.75] * 5 + list(close))
    before = np.full(len(highs), atr)
    before[-1] = 9.0  # of the last bar itself: nobody asks
    events = structure(highs, lows, closes, before, 2)[4]
    assert not events[:5].any()
    return events[5:].tolist()


@pytest.mark.parametrize(
    ("low", "high", "close", "expected"),
    [
        (8.94, 10.0, 9.5, 1),  # 0.06 ATR under the low, closed above it
        (8.96, 10.0, 9.5, 0),  # not far enough
        (8.94, 10.0, 9.0, 0),  # closed at it
        (9.5, 11.06, 10.5, -1),
        (9.5, 11.04, 10.5, 0),
        (9.5, 11.06, 11.0, 0),
        (8.94, 11.06, 10.5, 0),  # both: no event
    ],
)
def test_a_sweep_goes_beyond_a_swing_and_closes_inside(low, high, close, expected):
    assert swept([low], [high], [close]) == [expected]
    assert swept([low], [high], [close], math.nan) == [0]


def test_a_swing_is_swept_once_and_only_while_unbroken():
    assert swept([8.94, 8.9], [10.0, 10.0], [9.5, 9.5]) == [1, 0]
    assert swept([8.94, 8.9], [11.06, 10.0], [10.5, 9.5]) == [0, 0]  # swept with the other side
    assert swept([8.94, 8.9], [10.0, 10.0], [8.95, 9.5]) == [0, 0]  # broken
    assert swept([8.96, 8.9], [10.0, 10.0], [9.5, 9.5]) == [0, 1]
