"""What holds for every indicator function, bit for bit: prefixes, windows, scale; and the mirror."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_indicator_cases import CASES, case, cases, seeds
from test_indicator_reference import grid

from events.times import DAY_NS


def same(columns, expected):
    """Bit for bit."""
    assert [column.tobytes() for column in columns] == [np.ascontiguousarray(column).tobytes() for column in expected]


@case
@given(seed=seeds, n=st.integers(60, 420), data=st.data())
def test_a_prefix_of_the_bars_gives_the_prefix_of_the_columns(case, seed, n, data):
    bars, whole = grid(seed, n), case.function(grid(seed, n))
    assert all(len(column) == len(bars.close) for column in whole)
    cut = data.draw(st.integers(28, len(bars.close)))
    same(case.function(bars.rows(0, cut)), [column[:cut] for column in whole])


@cases(lambda case: case.window)
@given(seed=seeds, data=st.data())
def test_a_window_forgets_what_was_before(case, seed, data):
    bars = grid(seed, case.window + 80)
    whole = case.function(bars)
    since = data.draw(st.integers(0, len(bars.close) - case.window))
    begin = case.window - 1
    same([column[begin:] for column in case.function(bars.rows(since))], [column[since + begin :] for column in whole])


@case
@given(seed=seeds, power=st.integers(-9, 9))
def test_prices_times_a_power_of_two(case, seed, power):
    bars = grid(seed, 300)
    columns = case.function(bars)
    scaled = case.function(bars.scaled(2.0**power))
    same(scaled, [(c * 2.0 ** (power * p)).astype(c.dtype) for c, p in zip(columns, case.powers)])


@cases(lambda case: case.mirror)
@given(seed=seeds)
def test_mirrored_prices(case, seed):
    bars = grid(seed, 420)
    expected = case.mirror(*case.function(bars))
    for column, mirrored in zip(case.function(bars.mirrored()), expected):
        np.testing.assert_allclose(column, mirrored, rtol=0, atol=1e-9)


@given(seed=seeds)
def test_the_day_forgets_the_days_before(seed):
    bars = grid(seed, 200)
    since = int(np.flatnonzero(np.diff(bars.ts_open // DAY_NS))[1]) + 1
    whole = CASES["vwap"].function(bars)
    same(CASES["vwap"].function(bars.rows(since)), [column[since:] for column in whole])


def test_the_grid_has_all_kinds_of_events():
    seen = [
        {int(x) for seed in range(40) for x in column(grid(seed, 420))}
        for column in (
            lambda b: CASES["structure"].function(b)[3],
            lambda b: CASES["structure"].function(b)[4],
            lambda b: CASES["order_blocks"].function(b)[4],
            lambda b: CASES["regime"].function(b)[0],
        )
    ]
    assert seen == [{-2, -1, 0, 1, 2}, {-1, 0, 1}, {-1, 0, 1}, {-2, -1, 0, 1, 2, 3, 4}]


def test_heikin_ashi_forgets_its_start():
    bars = grid(7, 200)
    whole, late = CASES["heikin_ashi"].function(bars), CASES["heikin_ashi"].function(bars.rows(100))
    for column, again in zip(whole, late):
        assert np.abs(again[27:] - column[127:]).max() < 1e-8 * np.ptp(bars.close)
