"""The indicator functions over bars and what is claimed of their columns: ranges, first index, no Inf on flat bars."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_indicator_reference import MIRROR, Bars, grid, made, series2

from operators.indicators.heikin_ashi import heikin_ashi
from operators.indicators.momentum import awesome_oscillator
from operators.indicators.regime import p_trend, regime
from operators.indicators.rolling import (
    ols_slope,
    percentile_rank,
    rolling_mean,
    rolling_variance,
    weighted_mean,
    z_score,
)
from operators.indicators.structure import bos_score, newest_swings, structure, sweep_score, swings
from operators.indicators.volatility import (
    efficiency_ratio,
    parkinson_volatility,
    range_position,
    realised_volatility,
)
from operators.indicators.volume import (
    accumulation_slope,
    chaikin_money_flow,
    day_vwap,
    on_balance_volume,
    relative_volume,
)
from operators.indicators.zones import levels, order_blocks

UNIT, SIGN, ANY, PRICE = (0.0, 1.0), (-1.0, 1.0), (-math.inf, math.inf), (0.0, 2 * MIRROR)
POSITIVE, FLAG, COUNT = (0.0, math.inf), (0.0, 1.0), (0.0, 20.0)


@dataclass
class Case:
    """A function of bars and what is claimed of its columns."""

    function: Callable[[Bars], tuple]
    ranges: tuple
    first: tuple  # index of the first value on full bars; None: when something happens
    powers: tuple = (0,)  # of price, per column
    mirror: Callable | None = None  # its columns to those of the mirrored bars
    window: int = 0  # bars that a value depends on; 0: all


def _price(x):
    return 2 * MIRROR - x


def _negated(*columns):
    return tuple(-column for column in columns)


def _structure(bars):
    return structure(bars.high, bars.low, bars.close, bars.atr())


def _regime(bars):
    strength = [bars.talib(name) for name in ("ADX", "PLUS_DI", "MINUS_DI")]
    depth, spread = percentile_rank(bars.volume, 100), np.full(len(bars.close), math.nan)
    return regime(*strength, percentile_rank(bars.atr(), 512), depth, spread)


def _codes(*columns):
    return tuple(np.where(np.abs(column) <= 2, -column, column) for column in columns)


CASES = {
    "heikin_ashi": Case(
        lambda b: heikin_ashi(b.open, b.high, b.low, b.close),
        (PRICE,) * 4,
        (0,) * 4,
        (1,) * 4,
        lambda o, h, low, c: (_price(o), _price(low), _price(h), _price(c)),
    ),
    "cmf": Case(lambda b: (chaikin_money_flow(b.high, b.low, b.close, b.volume),), (SIGN,), (19,), (0,), _negated, 20),
    "obv": Case(lambda b: (on_balance_volume(b.close, b.volume),), (SIGN,), (14,), (0,), _negated, 15),
    "adl": Case(
        lambda b: (accumulation_slope(b.high, b.low, b.close, b.volume),),
        ((-600 / 399, 600 / 399),),
        (19,),
        (0,),
        _negated,
        20,
    ),
    "rvol": Case(
        lambda b: (relative_volume(b.ts_open, b.volume, b.flags),), (POSITIVE,), (30,), (0,), lambda x: (x,), 7 * 48 + 1
    ),
    "vwap": Case(
        lambda b: day_vwap(b.ts_open, b.high, b.low, b.close, b.vwap, b.volume),
        (PRICE, POSITIVE),
        (0, 0),
        (1, 1),
        lambda mean, band: (_price(mean), band),
    ),
    "ao": Case(lambda b: (awesome_oscillator(b.high, b.low),), (ANY,), (33,), (1,), _negated, 34),
    "rv": Case(lambda b: (realised_volatility(b.close, 30.0),), (POSITIVE,), (60,), window=61),
    "park": Case(lambda b: (parkinson_volatility(b.high, b.low),), (POSITIVE,), (59,), window=60),
    "er": Case(lambda b: (efficiency_ratio(b.close),), (UNIT,), (20,), mirror=lambda x: (x,), window=21),
    "range_pos": Case(
        lambda b: (range_position(b.high, b.low, b.close),), (UNIT,), (49,), mirror=lambda x: (1.0 - x,), window=50
    ),
    "mean": Case(lambda b: (rolling_mean(b.close, 20),), (PRICE,), (19,), (1,), lambda x: (_price(x),), 20),
    "variance": Case(lambda b: (rolling_variance(b.close, 20),), (POSITIVE,), (19,), (2,), lambda x: (x,), 20),
    "z": Case(lambda b: (z_score(b.close, 64),), ((-4.0, 4.0),), (32,), (0,), _negated),
    "pr": Case(lambda b: (percentile_rank(b.close, 64),), (UNIT,), (16,), (0,), lambda x: (1.0 - x,)),
    "wma": Case(lambda b: (weighted_mean(b.close, 20),), (PRICE,), (19,), (1,), lambda x: (_price(x),), 20),
    "slope": Case(lambda b: (ols_slope(b.close, 20),), (ANY,), (19,), (1,), _negated, 20),
    "swings": Case(
        lambda b: swings(b.high, b.low), (PRICE,) * 2, (None,) * 2, (1, 1), lambda h, low: (_price(low), _price(h)), 11
    ),
    "newest_swings": Case(
        lambda b: newest_swings(b.high, b.low),
        (PRICE,) * 2,
        (None,) * 2,
        (1, 1),
        lambda h, low: (_price(low), _price(h)),
    ),
    "structure": Case(
        _structure,
        (PRICE, PRICE, SIGN, (-2.0, 2.0), SIGN),
        (None, None, 0, 0, 0),
        (1, 1, 0, 0, 0),
        lambda h, low, *events: (_price(low), _price(h), *_negated(*events)),
    ),
    "bos": Case(lambda b: bos_score(_structure(b)[3]), (SIGN, FLAG), (None, 0), (0, 0), lambda u, silent: (-u, silent)),
    "sweep": Case(
        lambda b: sweep_score(_structure(b)[4], b.atr()),
        (SIGN, FLAG),
        (None, 0),
        (0, 0),
        lambda u, silent: (-u, silent),
    ),
    "order_blocks": Case(
        lambda b: order_blocks(b.open, b.high, b.low, b.close, b.atr(), _structure(b)[3]),
        (SIGN, FLAG, COUNT, COUNT, SIGN, PRICE, PRICE),
        (None, 0, 0, 0, 0, None, None),
        (0, 0, 0, 0, 0, 1, 1),
        lambda u, silent, up, down, made, low, high: (-u, silent, down, up, -made, _price(high), _price(low)),
    ),
    "levels": Case(
        lambda b: levels(*swings(b.high, b.low), b.close, b.atr()),
        (POSITIVE, POSITIVE, COUNT, COUNT, FLAG, FLAG),
        (None, None, None, None, 0, 0),
        (0,) * 6,
        lambda up, down, ups, downs, no_up, no_down: (down, up, downs, ups, no_down, no_up),
    ),
    "regime": Case(_regime, ((-2, 4), (-2, 4)), (0, 0), (0, 0), _codes),
    "p_trend": Case(lambda b: (p_trend(b.talib("ADX")),), (UNIT,), (27,), (0,), lambda x: (x,)),
}


def cases(chosen=lambda case: True):
    """The cases that are `chosen`."""
    return pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in CASES.items() if chosen(c)])


case = cases()
seeds = st.integers(0, 2**32 - 1)


@case
@given(seed=seeds)
def test_values_are_in_range(case, seed):
    for bars in (grid(seed, 300), grid(seed, 300).scaled(1 / 3)):
        for column, (low, high) in zip(case.function(bars), case.ranges):
            assert not np.isinf(column).any()
            assert (np.isnan(column) | ((column >= low) & (column <= high))).all()


@case
@pytest.mark.parametrize("volume", [0.0, 0.3])
@pytest.mark.parametrize("price", [100.1, 1e-5])
def test_flat_bars_give_no_infinity(case, price, volume):
    flat = np.full(200, price)
    for column, (low, high) in zip(case.function(made(flat, flat, flat, flat, np.full(200, volume))), case.ranges):
        assert not np.isinf(column).any()
        assert (np.isnan(column) | ((column >= low) & (column <= high))).all()


@case
def test_first_index(case):
    for column, first in zip(case.function(series2(600)), case.first):
        if first is not None:
            assert np.isnan(column[:first]).all()
            assert not np.isnan(column[first:]).any()


@case
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_bars(case, n):
    assert [len(column) for column in case.function(grid(1, 50).rows(0, n))] == [n] * len(case.ranges)
