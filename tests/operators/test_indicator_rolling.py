"""Rolling functions against their definitions, with missing values."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.indicators.rolling import (
    ols_slope,
    percentile_rank,
    rolling_mean,
    rolling_variance,
    weighted_mean,
    z_score,
)

numbers = st.lists(st.one_of(st.just(math.nan), st.integers(-9, 9).map(float)), min_size=1, max_size=60)
WINDOW = 8


def finite(x, since, until):
    return [value for value in x[max(since, 0) : until] if not math.isnan(value)]


@given(numbers)
def test_mean_and_variance_skip_what_is_missing(x):
    means, variances = rolling_mean(np.array(x), WINDOW), rolling_variance(np.array(x), WINDOW)
    for t, (mean, variance) in enumerate(zip(means, variances)):
        values = finite(x, t - WINDOW + 1, t + 1)
        if t < WINDOW - 1 or len(values) < WINDOW // 2:
            assert math.isnan(mean)
            assert math.isnan(variance)
        else:
            assert mean == pytest.approx(statistics.fmean(values))
            assert variance == pytest.approx(statistics.pvariance(values))


@given(numbers)
def test_z_score_and_rank_leave_out_the_value_itself(x):
    scores, ranks = z_score(np.array(x), WINDOW, 4), percentile_rank(np.array(x), WINDOW)
    for t, (z, rank) in enumerate(zip(scores, ranks)):
        before = finite(x, t - WINDOW, t)
        if math.isnan(x[t]) or len(before) < WINDOW // 4:
            assert math.isnan(rank)
        else:
            lower, equal = sum(y < x[t] for y in before), before.count(x[t])
            assert rank == pytest.approx((lower + equal / 2) / len(before))
        deviation = statistics.pstdev(before) if before else 0.0
        if math.isnan(x[t]) or len(before) < 4 or deviation == 0.0:
            assert math.isnan(z)
        else:
            assert z == pytest.approx(min(max((x[t] - statistics.fmean(before)) / deviation, -4), 4))


@given(numbers)
def test_slope_and_weighted_mean_need_the_whole_window(x):
    slopes, means = ols_slope(np.array(x), WINDOW), weighted_mean(np.array(x), WINDOW)
    for t, (slope, mean) in enumerate(zip(slopes, means)):
        values = finite(x, t - WINDOW + 1, t + 1)
        if t < WINDOW - 1 or len(values) < WINDOW:
            assert math.isnan(slope)
            assert math.isnan(mean)
        else:
            assert slope == pytest.approx(np.polyfit(np.arange(WINDOW), values, 1)[0], abs=1e-9)
            assert mean == pytest.approx(np.average(values, weights=np.arange(1, WINDOW + 1)))


def test_what_does_not_vary_has_no_score():
    assert np.isnan(z_score(np.full(80, 100.1))).all()
    assert (ols_slope(np.full(80, 100.1), 20)[19:] == 0.0).all()
    assert (percentile_rank(np.full(80, 100.1), 40)[10:] == 0.5).all()
