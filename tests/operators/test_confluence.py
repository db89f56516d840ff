"""The vectors of file 05 sections 2 to 4, and the properties C1 to C6."""

from __future__ import annotations

import math

import numpy as np
import pytest
import talib
from cases import CONFLUENCE, analysis, made
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, deliver, drive
from test_indicator_reference import series1

from config.presets import PRESETS, THETA_BASE
from events.schema import COLD, GAP, MISSING, SETTLED, SILENT, WARMING
from operators.confluence import GATES, Confluence
from operators.confluence_kernels import blend, combine, empty_scores, hysteresis, prior_theta
from operators.dimensions import SCORES

PRICE6 = {
    "order_flow": 0.30,
    "liquidity": 0.20,
    "volume": 0.18,
    "structure": 0.15,
    "technical": 0.10,
    "sentiment": 0.07,
}
WEIGHTS = np.array(list(PRICE6.values()))
U = {"order_flow": 0.6, "liquidity": 0.4, "volume": 0.2, "structure": 0.1, "technical": 0.0, "sentiment": -0.2}


def combined(u, q=None, weight=WEIGHTS, status=None):
    """score, coverage, agreement, dispersion, contributions of one row."""
    u, q = np.array([u], float), np.ones((1, len(u))) if q is None else np.array([q], float)
    status = (
        np.where(np.isnan(u), MISSING, SETTLED).astype(np.uint8) if status is None else np.array([status], np.uint8)
    )
    m, coverage, agreement, dispersion, unit, mask = empty_scores(1, u.shape[1])
    combine(u, q, status, np.asarray(weight, float), m, coverage, agreement, dispersion, unit, mask)
    return 50 + 50 * m[0], coverage[0], agreement[0], dispersion[0], (unit * u)[0]


@pytest.mark.parametrize(
    ("change", "q", "expected"),
    [
        ({}, {}, (64.85, 1.0, 0.9138461538461538, 0.063291)),
        ({"liquidity": math.nan}, {}, (63.5625, 0.8, 0.8857142857142857, 0.0757984375)),
        (
            {}, {"liquidity": 0.5, "sentiment": 0.25},
            (65.78171091445428, 0.8475, 0.9744990892531876, 0.05777917003854821),
        ),
    ],
)  # fmt: skip
def test_vectors_of_the_combination(change, q, expected):
    got = combined([{**U, **change}[d] for d in PRICE6], [q.get(d, 1.0) for d in PRICE6])
    assert got[:4] == pytest.approx(expected, rel=1e-12)


def test_contributions_of_the_last_vector():
    *_, points = combined(list(U.values()), [1, 0.5, 1, 1, 1, 0.25])
    expected = [
        10.619469026548671,
        2.359882005899705,
        2.1238938053097347,
        0.8849557522123893,
        0.0,
        -0.20648967551622424,
    ]
    assert points == pytest.approx(expected, rel=1e-12)


def blended(u, status, weight, blend_weight, freshness=None):
    """(u, q) of one dimension from (timeframe, feature) values."""
    u, status = np.array([u], float), np.array([status], np.uint8)
    fresh = np.ones(u.shape) if freshness is None else np.array([freshness], float)
    shape = u.shape
    out_u, out_q, out_s = np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1), np.uint8)
    share, warming = np.zeros(shape), np.zeros(1, np.uint8)
    of = np.zeros(shape[2], np.int64)
    blend(u, status, fresh, np.array([blend_weight]), np.array(weight), of, out_u, out_q, out_s, share, warming)
    return out_u[0, 0], out_q[0, 0], out_s[0, 0], share[0], warming[0]


def test_vector_of_a_dimension_with_silent_and_missing_features():
    nan = math.nan
    values = [[0.4, 0.2, nan, 0.1, nan, nan]]
    status = [[SETTLED, SETTLED, SILENT, SETTLED, SILENT, MISSING]]
    u, q, _, share, _ = blended(values, status, [0.30, 0.25, 0.15, 0.10, 0.10, 0.10], [1.0])
    assert (u, q) == pytest.approx((0.2769230769230769, 0.8666666666666667), rel=1e-12)
    assert float(np.sum(share)) == pytest.approx(u, rel=1e-12)


def test_vector_of_the_blend_of_timeframes():
    u, q, *_ = blended([[0.5], [0.2], [-0.1], [math.nan]], [[0], [0], [0], [MISSING]], [1.0], [0.4, 0.3, 0.2, 0.1])
    assert (u, q) == pytest.approx((0.26666666666666666, 0.9), rel=1e-12)


def test_silence_is_neither_a_vote_nor_a_gap():
    u, q, status, _, _ = blended([[math.nan]], [[SILENT]], [1.0], [1.0])
    assert math.isnan(u)
    assert (q, status) == (0.0, SILENT)
    assert blended([[math.nan]], [[COLD]], [1.0], [1.0])[2] == MISSING
    assert blended([[0.5]], [[WARMING]], [1.0], [1.0])[4] == 1


def test_priors_of_the_voting_sets():
    w = WEIGHTS
    assert prior_theta(w, 0b111111, 16.0) == 16.0
    assert prior_theta(w, 0b111101, 16.0) == 18.0
    bars3 = np.array([0.40, 0.30, 0.30])
    assert prior_theta(bars3, 0b101, 20.0) == 24.0


@pytest.mark.parametrize(
    ("preset", "effective", "points"),
    [
        ("bars3", 2.941176470588235, 20), ("core6", 5.7142857142857135, 15), ("price6", 5.005005005005005, 16),
        ("full9", 8.278145695364238, 12),
    ],
)  # fmt: skip
def test_effective_voters_and_priors_of_the_presets(preset, effective, points):
    weights = np.array(list(PRESETS[preset].values()))
    assert sum(weights) ** 2 / sum(weights**2) == pytest.approx(effective, rel=1e-12)
    assert prior_theta(weights, 2 ** len(weights) - 1, THETA_BASE[preset]) == points


def test_vectors_of_the_scores_on_series1():
    bars = series1()
    macd = talib.MACD(bars.close, 12, 26, 9)[2]
    columns = {
        "close": bars.close, "atr_14": bars.atr(), "adx_14": bars.talib("ADX"), "plus_di_14": bars.talib("PLUS_DI"),
        "minus_di_14": bars.talib("MINUS_DI"), "rsi_14": talib.RSI(bars.close, 14), "ema_50": talib.EMA(bars.close, 50),
        "macd_12_26_9.hist": macd,
    }  # fmt: skip
    expected = {
        "technical.rsi": 0.11518127515977664, "technical.adx": 0.26245195088349005, "technical.macd": 0.3630295765257272,
        "structure.trend_position": 0.9050977656111092,
    }  # fmt: skip
    for score in SCORES:
        if score.column in expected:
            u = score.function(*(columns[name] for name in score.needs))
            assert u[119] == pytest.approx(expected.pop(score.column), rel=1e-12)
    assert expected == {}


def test_hysteresis_vector():
    score = np.array([50, 69, 70, 66, 65, 64.9, 72, 30, 34, 35, 35.1, 29])
    out, since = np.empty(12, np.int64), np.empty(12, np.int64)
    hysteresis(score, np.full(12, 20.0), 5.0, np.arange(12), np.array([0, -1]), out, since)
    assert out.tolist() == [0, 0, 1, 1, 1, 0, 1, -1, -1, -1, 0, -1]
    assert since.tolist() == [-1, -1, 2, 2, 2, 5, 6, 7, 7, 7, 10, 11]


VALUES = st.lists(st.one_of(st.floats(-1, 1), st.just(math.nan)), min_size=6, max_size=6)
FILL = st.lists(st.floats(0.01, 1), min_size=6, max_size=6)


@given(VALUES, FILL)
def test_c1_antisymmetry(u, q):
    a, b = combined(u, q), combined([-x for x in u], q)
    if not math.isnan(a[0]):
        assert a[0] + b[0] == pytest.approx(100, abs=1e-9)
        assert a[1] == b[1]
        assert (a[2], a[3]) == pytest.approx((b[2], b[3]), rel=1e-12, nan_ok=True)


@given(VALUES, FILL, st.integers(0, 5), st.floats(0, 1))
def test_c2_monotone_and_lipschitz(u, q, d, by):
    if math.isnan(u[d]):
        return
    raised = [min(1.0, x + by) if i == d else x for i, x in enumerate(u)]
    before, after = combined(u, q), combined(raised, q)
    total = sum(w * f for w, f, x in zip(WEIGHTS, q, u) if not math.isnan(x))
    assert after[0] >= before[0] - 1e-9
    assert after[0] - before[0] <= 50 * WEIGHTS[d] * q[d] / total * (raised[d] - u[d]) + 1e-9


@given(VALUES, FILL, st.floats(0.1, 10))
def test_c3_the_scale_of_the_weights_does_not_matter(u, q, c):
    a, b = combined(u, q), combined(u, q, WEIGHTS * c)
    assert a[:4] == pytest.approx(b[:4], rel=1e-9, nan_ok=True)


@given(VALUES, FILL, st.integers(0, 5))
def test_c4_missing_is_not_neutral(u, q, d):
    without = [math.nan if i == d else x for i, x in enumerate(u)]
    rest = [i for i in range(6) if i != d]
    a = combined(without, q)
    b = combined([u[i] for i in rest], [q[i] for i in rest], WEIGHTS[rest])
    assert (a[0], a[2], a[3]) == pytest.approx((b[0], b[2], b[3]), rel=1e-12, nan_ok=True)
    neutral = combined([0.0 if i == d else x for i, x in enumerate(u)], q)
    if not math.isnan(a[0]) and abs(a[0] - 50) > 1:
        assert abs(neutral[0] - 50) < abs(a[0] - 50)


@given(VALUES, FILL, st.permutations(range(6)))
def test_c5_order_of_dimensions(u, q, order):
    a = combined(u, q)
    b = combined([u[i] for i in order], [q[i] for i in order], WEIGHTS[list(order)])
    assert a[:4] == pytest.approx(b[:4], rel=1e-9, nan_ok=True)


@given(VALUES, FILL)
def test_c6_bounds_and_sum(u, q):
    score, coverage, _, _, points = combined(u, q)
    if all(math.isnan(x) for x in u):
        assert math.isnan(score)
        assert coverage == 0.0
    else:
        assert 0 <= score <= 100
        assert float(np.nansum(points)) == pytest.approx(score - 50, abs=1e-9)


def test_rows_say_what_blocked_them_and_never_impute():
    m = made()
    rows = m["confluence"]
    cold = rows["score"] != rows["score"]
    assert cold.any()
    assert (rows["state"][cold] == 0).all()
    assert (rows["gates"][cold][:, GATES.index("coverage")] == 0).all()
    scored = rows[~cold]
    assert np.allclose(np.nansum(scored["contribution"], axis=1), scored["score"] - 50, atol=1e-9)
    points = m["votes"]["points"][~cold]
    assert np.allclose(points.sum(axis=(1, 2)), scored["score"] - 50, atol=1e-9)
    assert (rows["theta"] >= 10).all()
    assert len(rows) == len(m["bars.1m"])


def test_a_touched_bar_closes_the_gap_gate_and_missing_features_the_others():
    m = made()
    streams = {n: m[n].copy() for n in ("bars.1m", "features.1m", "features.5m", "features.30m")}
    streams["bars.1m"]["flags"][200] |= GAP
    streams["features.5m"] = streams["features.5m"][:10]
    out = drive(lambda: Confluence(CONFLUENCE, analysis()), streams, deliver(streams, ALL))["confluence"]
    assert out["gates"][200][GATES.index("gap")] == 0
    assert (out["gates"][201:, GATES.index("gap")] == (streams["bars.1m"]["flags"][201:] & GAP == 0)).all()
    stale = out["available_at"] >= streams["features.5m"]["available_at"][-1] + 600 * 10**9
    assert (out["coverage"][stale] <= 0.7 + 1e-12).all()
