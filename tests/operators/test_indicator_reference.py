"""The reference series S1 and S2 of file 00 section 9, and random bars on a grid where mirroring rounds nothing."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import talib

from events.schema import SYNTHETIC
from events.times import MINUTE_NS

MIRROR = 200.0
"""Prices p of `grid` are mirrored to 2 * MIRROR - p."""


class Bars(NamedTuple):
    """Columns of bars."""

    ts_open: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    vwap: np.ndarray
    flags: np.ndarray

    def rows(self, since=0, until=None):
        return Bars(*(column[since:until].copy() for column in self))

    def scaled(self, factor):
        prices = {name: getattr(self, name) * factor for name in ("open", "high", "low", "close", "vwap")}
        return self._replace(**prices)

    def mirrored(self):
        up = {name: 2 * MIRROR - getattr(self, name) for name in ("open", "close", "vwap")}
        return self._replace(high=2 * MIRROR - self.low, low=2 * MIRROR - self.high, **up)

    def talib(self, name, n=14):
        """A TA-Lib function of high, low and close."""
        return getattr(talib, name)(self.high, self.low, self.close, n) if len(self.close) else np.empty(0)

    def atr(self):
        return self.talib("ATR")


def made(open_, high, low, close, volume, vwap=None, tf_minutes=1, flags=None):
    """Bars of equal length in a row, from 1970-01-01 on."""
    n = len(close)
    return Bars(
        np.arange(n) * tf_minutes * MINUTE_NS,
        *(np.array(column, float) for column in (open_, high, low, close, volume)),
        np.full(n, math.nan) if vwap is None else vwap,
        np.zeros(n, np.uint16) if flags is None else flags,
    )


def series1(n=120):
    t = np.arange(n, dtype=float)
    close = 100 + 5 * np.sin(t / 3) + 0.1 * t
    high, low = close + 1 + 0.2 * np.cos(t), close - 1 - 0.2 * np.cos(t / 2)
    return made(close - 0.5 * np.sin(t), high, low, close, 1000 + 100 * np.sin(t / 5))


def series2(n=6000):
    x, total, previous, rows = 42, 0.0, 100.0, []
    for _ in range(n):
        drawn = []
        for _ in range(4):
            x = (1103515245 * x + 12345) % 2**31
            drawn.append(x / 2**31)
        a, b, d, e = drawn
        total += 0.01 * (a - 0.5)
        close = 100.0 * math.exp(total)
        high, low = max(previous, close) * (1 + 0.002 * b), min(previous, close) * (1 - 0.002 * d)
        rows.append((previous, high, low, close, 10 + 90 * e))
        previous = close
    return made(*np.array(rows).T)


def grid(seed, n):
    """Random bars of 30 minutes with prices in 1/64, some of them synthetic, some left out."""
    draw = np.random.default_rng(seed)
    synthetic = draw.random(n) < draw.choice([0.0, 0.1, 0.6])
    move = np.where(synthetic, 0, draw.integers(-12, 13, n) + np.round(6 * np.sin(np.arange(n) / 9)).astype(int))
    close = 64 * 200 + np.cumsum(move)
    open_ = close - move
    high = np.maximum(open_, close) + np.where(synthetic, 0, draw.integers(0, 9, n))
    low = np.minimum(open_, close) - np.where(synthetic, 0, draw.integers(0, 9, n))
    volume = np.where(synthetic, 0.0, draw.integers(1, 200, n) / 8)
    vwap = np.where(synthetic | (draw.random(n) < 0.3), math.nan, draw.integers(low, high + 1) / 64)
    prices = (column / 64 for column in (open_, high, low, close))
    bars = made(*prices, volume, vwap, 30, np.where(synthetic, SYNTHETIC, 0).astype(np.uint16))
    kept = draw.random(n) < 0.97
    return Bars(*(np.ascontiguousarray(column[kept]) for column in bars))


def near(expected):
    """The tolerance of file 00."""
    return pytest.approx(expected, rel=0, abs=1e-12 * max(1.0, abs(expected)))


def test_series():
    bars = series2()
    first = [column[0] for column in bars[2:6]]
    assert first == [near(x) for x in (100.18639082683525, 99.90680471500382, 100.08234147169783, 79.93335324339569)]
    assert bars.close[599] == near(100.00298539907509)
    assert bars.close[5999] == near(116.612247499087)
    assert bars.close[0] == bars.open[1]


@pytest.mark.parametrize("seed", range(5))
def test_mirroring_the_grid_rounds_nothing(seed):
    bars = grid(seed, 300)
    back = bars.mirrored().mirrored()
    for column, again in zip(bars, back):
        assert column.tobytes() == again.tobytes()
    assert (bars.low > 0).all()
    assert bars.atr().tobytes() == bars.mirrored().atr().tobytes()
