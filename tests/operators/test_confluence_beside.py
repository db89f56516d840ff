"""Scores of streams beside the features: freshness, what is not applicable, gates of the market, voids; against file 05."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import BETA, CONFLUENCE, KEY, MICRO, TIMEFRAMES, WHOLE, analysis, beside_features, made
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, deliver, drive

from events.frames import control
from events.rows import feature_row
from events.schema import COLD, MISSING, SETTLED, SILENT, VOID, WARMING
from events.times import MINUTE_NS
from operators.ballot import BesideFeatures
from operators.confluence import GATES, Confluence, Voters
from operators.confluence_kernels import blend, combine, empty_scores

NAN = math.nan
PER_DIMENSION = ("u", "weight", "q", "contribution", "status")
NAMES = [name for name, _ in WHOLE.dimensions]
WEIGHTS = np.array([weight for _, weight in WHOLE.dimensions])


def streams(*beside):
    found = {name: made()[name] for name in ("bars.1m", *(f"features.{n}" for n, _ in TIMEFRAMES))}
    kept = [stream.name for stream in beside]
    return found | {name: rows for name, rows in beside_features().items() if name.split(".")[0] in kept}


def scored(settings=WHOLE, beside=(MICRO, BETA), given=None, controls=None):
    rows = given or streams(*beside)
    return drive(lambda: Confluence(settings, analysis(), beside=beside), rows, deliver(rows, ALL, control=controls))


def blended(u, status, freshness, weight, blend_weight=(1.0,)):
    """(u, q, status, shares) of one dimension from (timeframe, feature) values."""
    u = np.array([u], float)
    q_u, q, said = np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1), np.uint8)
    share, of = np.zeros(u.shape), np.zeros(u.shape[2], np.int64)
    statuses, fresh = np.array([status], np.uint8), np.array([freshness], float)
    blend(
        u, statuses, fresh, np.array([blend_weight]), np.array(weight), of, q_u, q, said, share, np.zeros(1, np.uint8)
    )
    return q_u[0, 0], q[0, 0], said[0, 0], share[0]


def test_freshness_by_hand():
    """Funding of two intervals (f 1/2), a ratio just come, no liquidations, no basis, fear and greed of age 1.5 T."""
    root = 2**-0.5
    u, q, _, share = blended(
        [[-0.4, NAN, 0.2, NAN, -0.2]],
        [[SETTLED, SILENT, SETTLED, MISSING, SETTLED]],
        [[0.5, 1, 1, 1, root]],
        [0.30, 0.25, 0.20, 0.15, 0.10],
    )
    voted = 0.30 * 0.5 + 0.20 + 0.10 * root
    assert u == pytest.approx((0.15 * -0.4 + 0.20 * 0.2 + 0.10 * root * -0.2) / voted, rel=1e-14)
    assert q == pytest.approx(voted / (0.30 + 0.20 + 0.15 + 0.10), rel=1e-14)
    assert float(np.sum(share)) == pytest.approx(u, rel=1e-12)
    assert share[0, 0] == pytest.approx(0.15 * -0.4 / voted, rel=1e-14)


def test_a_single_old_value_keeps_its_direction_and_fills_less():
    u, q, *_ = blended([[0.7]], [[SETTLED]], [[0.25]], [0.30])
    assert (u, q) == (pytest.approx(0.7, rel=1e-15), 0.25)


def combined(u, freshness, status, order=range(6), scale=1.0):
    """A row of two dimensions of three features each: score, coverage, agreement, dispersion, points, q."""
    order = list(order)
    u, fresh = np.array([[u]], float)[:, :, order], np.array([[freshness]], float)[:, :, order]
    codes = np.array([[status]], np.uint8)[:, :, order]
    of, weight = np.array([0, 0, 0, 1, 1, 1])[order], np.array([0.3, 0.2, 0.1, 0.3, 0.2, 0.1])[order] * scale
    d_u, d_q, d_s, share = np.empty((1, 2)), np.empty((1, 2)), np.empty((1, 2), np.uint8), np.zeros(u.shape)
    blend(u, codes, fresh, np.ones((2, 1)), weight, of, d_u, d_q, d_s, share, np.zeros(1, np.uint8))
    m, coverage, agreement, dispersion, unit, mask = empty_scores(1, 2)
    combine(d_u, d_q, d_s, np.array([0.6, 0.4]) * scale, m, coverage, agreement, dispersion, unit, mask)
    return 50 + 50 * m[0], coverage[0], agreement[0], dispersion[0], (unit * d_u)[0], d_q[0]


US = st.lists(st.floats(-1, 1), min_size=6, max_size=6)
FRESH = st.lists(st.floats(0.25, 1), min_size=6, max_size=6)
STATUS = st.lists(st.sampled_from([SETTLED, SETTLED, WARMING, COLD, MISSING, SILENT]), min_size=6, max_size=6)


@given(US, FRESH, STATUS, st.integers(0, 5), st.floats(0, 1), st.permutations(range(6)))
def test_properties_of_the_combination_hold_with_freshness(u, fresh, status, place, by, order):
    score, coverage, agreement, dispersion, points, q = combined(u, fresh, status)
    assert ((q >= 0) & (q <= 1)).all()
    if math.isnan(score):
        assert all(code >= COLD for code in status)
        return
    mirrored = combined([-x for x in u], fresh, status)  # C1
    assert mirrored[0] == pytest.approx(100 - score, abs=1e-9)
    assert mirrored[1] == coverage
    assert mirrored[2:4] == pytest.approx((agreement, dispersion), rel=1e-12, nan_ok=True)
    assert 0 <= score <= 100  # C6
    assert float(np.nansum(points)) == pytest.approx(score - 50, abs=1e-9)
    raised = combined([min(1.0, x + by) if k == place else x for k, x in enumerate(u)], fresh, status)  # C2
    assert raised[0] >= score - 1e-9
    assert raised[1] == coverage
    for changed in (combined(u, fresh, status, order), combined(u, fresh, status, scale=7.0)):  # C5, C3
        assert changed[:4] == pytest.approx((score, coverage, agreement, dispersion), abs=1e-9, nan_ok=True)
    older = combined(u, [f / 2 if k == place else f for k, f in enumerate(fresh)], status)
    assert older[1] <= coverage + 1e-12, "what grows old never covers more"


@given(US, FRESH, st.integers(0, 2))
def test_c4_a_missing_feature_is_not_a_neutral_one(u, fresh, place):
    status = [SETTLED] * 6
    missing = combined(u, fresh, [MISSING if k == place else SETTLED for k in range(6)])
    silent = combined(u, fresh, [SILENT if k == place else SETTLED for k in range(6)])
    neutral = combined([0.0 if k == place else x for k, x in enumerate(u)], fresh, status)
    assert missing[5][0] < silent[5][0] + 1e-12, "missing lowers what the dimension is filled by, silence does not"
    assert missing[1] < neutral[1]


def test_scores_of_each_stream_reach_their_dimension():
    """Against plain numpy over the same rows: u and q of liquidity and sentiment, which are of the base timeframe alone."""
    out, micro = scored()["confluence"], beside_features()["micro.1m"]
    at = np.searchsorted(out["available_at"], micro["available_at"])
    for name in ("liquidity", "sentiment"):
        d, place = NAMES.index(name), {column: k for k, column in enumerate(MICRO.columns)}
        mine = [score for score in MICRO.scores if score.dimension == name]
        values = micro["values"][:, [place[s.column] for s in mine]]
        status = micro["status"][:, [place[s.column] for s in mine]].copy()
        fresh = np.stack(
            [micro["values"][:, place[s.freshness]] if s.freshness else np.ones(len(micro)) for s in mine], axis=1
        )
        status[np.isnan(fresh) & (status < COLD)] = MISSING
        weight, votes = np.array([s.weight for s in mine]), status < COLD
        asked = (weight * (status != SILENT)).sum(1)
        filled = np.where(votes, weight * fresh, 0.0).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            u = np.where(votes, weight * fresh * values, 0.0).sum(1) / filled
            q = filled / asked
        np.testing.assert_allclose(out["u"][at, d], np.where(filled > 0, u, np.nan), rtol=1e-12)
        np.testing.assert_allclose(out["q"][at, d], np.where(filled > 0, q, 0.0), rtol=1e-12)
        assert (out["status"][at, d] == np.where(filled > 0, 0, np.where(asked > 0, MISSING, SILENT))).all()
        assert len({*np.round(q[filled > 0], 6)}) > 10


def test_points_of_features_of_every_stream_sum_to_the_score():
    out = scored()
    rows, votes = out["confluence"], out["votes"]
    has = ~np.isnan(rows["score"])
    np.testing.assert_allclose(votes["points"][has].sum(axis=(1, 2)), rows["score"][has] - 50, atol=1e-9)
    own = Confluence(WHOLE, analysis(), beside=(MICRO, BETA)).ballot.scores
    for name in NAMES:
        mine = [k for k, score in enumerate(own) if score.dimension == name]
        points = votes["points"][has][:, :, mine].sum(axis=(1, 2))
        np.testing.assert_allclose(points, np.nan_to_num(rows["contribution"][has][:, NAMES.index(name)]), atol=1e-9)


@pytest.mark.parametrize("theta", [16.0, "prior", "auto"])
@pytest.mark.parametrize("gone", [("liquidity",), ("sentiment", "bitcoin_beta"), ("smart_money",)])
def test_what_is_not_applicable_counts_as_if_it_were_not_there(gone, theta):
    """To the last bit: a dimension of weight 0 against one that does not exist."""
    weights = tuple(0.0 if name in gone else weight for name, weight in WHOLE.dimensions)
    scores = [*MICRO.scores, *BETA.scores, *analysis().scores]
    silent = tuple(score.column for score in scores if score.dimension in gone)
    lacking = WHOLE._replace(theta=theta, instruments={KEY: Voters(weights, 12.0, silent)})
    rest = tuple((name, weight) for name, weight in WHOLE.dimensions if name not in gone)
    without = WHOLE._replace(theta=theta, dimensions=rest, theta_base=12.0, instruments={})
    ours, theirs = scored(lacking)["confluence"], scored(without)["confluence"]
    for field in ("score", "m", "coverage", "agreement", "dispersion", "theta", "state", "state_since", "gates"):
        assert ours[field].tobytes() == theirs[field].tobytes(), field
    kept = [k for k, name in enumerate(NAMES) if name not in gone]
    for field in PER_DIMENSION:
        assert np.ascontiguousarray(ours[field][:, kept]).tobytes() == theirs[field].tobytes(), field
    for k in set(range(len(NAMES))) - set(kept):
        assert (ours["weight"][:, k] == 0).all()
        assert (ours["status"][:, k] == SILENT).all()
        assert np.isnan(ours["contribution"][:, k]).all()


def test_a_feature_that_is_not_applicable_is_in_neither_set():
    column = "sentiment.funding"
    lacking = WHOLE._replace(instruments={KEY: WHOLE.instruments[KEY]._replace(silent=(column,))})
    fewer = MICRO._replace(scores=tuple(score for score in MICRO.scores if score.column != column))
    ours, theirs = scored(lacking)["confluence"], scored(beside=(fewer, BETA))["confluence"]
    assert ours.tobytes() == theirs.tobytes()
    assert ours.tobytes() != scored()["confluence"].tobytes()


def test_configured_but_absent_is_missing_and_covers_less():
    rows = streams(MICRO, BETA)
    rows |= {f"micro.{name}": np.empty(0, feature_row(len(MICRO.columns))) for name, _ in TIMEFRAMES}
    out = scored(given=rows)["confluence"]
    for name in ("order_flow", "liquidity", "sentiment"):
        assert (out["status"][:, NAMES.index(name)] == MISSING).all()
    most = 1 - WEIGHTS[:3].sum() / WEIGHTS.sum()
    assert (out["coverage"] <= most + 1e-12).all()
    assert (out["gates"][:, [GATES.index("book"), GATES.index("spread")]] == 0).all(), "nothing is known of either"


def test_a_void_hides_the_stream_and_nothing_else():
    times = made()["bars.1m"]["available_at"]
    since, until = int(times[200]), int(times[230])
    down = control(VOID, since, since, until)
    rows = streams(MICRO, BETA)
    out, whole = scored(given=rows, controls={"micro.1m": down})["confluence"], scored()["confluence"]
    hidden = (times >= since) & (times <= until)
    assert (out["status"][hidden][:, [NAMES.index("liquidity"), NAMES.index("sentiment")]] == MISSING).all()
    for field in ("score", "u", "contribution", "gates"):
        assert out[field][~hidden].tobytes() == whole[field][~hidden].tobytes(), field
    assert (
        out["status"][hidden][:, NAMES.index("technical")] == whole["status"][hidden][:, NAMES.index("technical")]
    ).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (1, 1)),
        ({"spread_bps": 10.0, "spread_pctl": 0.99}, (1, 1)),
        ({"spread_bps": 10.1, "spread_pctl": 0.95}, (1, 1)),
        ({"spread_bps": 10.1, "spread_pctl": 0.96}, (1, 0)),
        ({"spread_bps": 10.1, "spread_pctl": NAN}, (1, 0)),
        ({"spread_bps": NAN, "spread_pctl": NAN}, (1, 0)),
        ({"book_age_s": 30.0}, (1, 1)),
        ({"book_age_s": 30.1}, (0, 1)),
        ({"book_age_s": NAN}, (0, 1)),
    ],
)
def test_gates_of_the_market(values, expected):
    good = {"spread_bps": 2.0, "spread_pctl": 0.5, "book_age_s": 0.4}
    rows = streams(MICRO)
    rows["micro.1m"] = rows["micro.1m"].copy()
    for name, value in (good | values).items():
        rows["micro.1m"]["values"][:, MICRO.columns.index(name)] = value
    without = WHOLE._replace(dimensions=tuple(d for d in WHOLE.dimensions if d[0] != "bitcoin_beta"))
    voters = Voters(tuple(weight for _, weight in without.dimensions), 12.0, (), ("book", "spread"))
    places = [GATES.index("book"), GATES.index("spread")]
    whole = np.isin(made()["bars.1m"]["available_at"], rows["micro.1m"]["available_at"])
    for gates in ((), ("book",), ("spread",), ("book", "spread")):
        settings = without._replace(instruments={KEY: voters._replace(gates=gates)})
        out = scored(settings, (MICRO,), rows)["confluence"]["gates"][whole][:, places]
        judged = [expected[k] if name in gates else 1 for k, name in enumerate(("book", "spread"))]
        assert (out == judged).all(), gates


def test_the_wider_of_two_limits_of_the_spread_decides():
    rows = streams(MICRO)
    rows["micro.1m"] = rows["micro.1m"].copy()
    for name, value in (("spread_bps", 4.0), ("spread_pctl", 0.7)):
        rows["micro.1m"]["values"][:, MICRO.columns.index(name)] = value
    without = WHOLE._replace(dimensions=tuple(d for d in WHOLE.dimensions if d[0] != "bitcoin_beta"))
    voters = Voters(tuple(weight for _, weight in without.dimensions), 12.0, (), ("spread",))
    found = []
    for bps, pctl in ((3.0, 0.6), (4.0, 0.6), (3.0, 0.7)):
        settings = without._replace(most_spread_bps=bps, most_spread_pctl=pctl, instruments={KEY: voters})
        found.append(int(scored(settings, (MICRO,), rows)["confluence"]["gates"][100, GATES.index("spread")]))
    assert found == [0, 1, 1]


def test_who_votes_hangs_on_the_instrument():
    core = Confluence(
        CONFLUENCE._replace(
            spot=Voters((0.0, 0.1, 0.2, 0.3), 20.0),
            derivatives=Voters((0.1, 0.1, 0.2, 0.3), 12.0),
            instruments={"x:A/B": Voters((0.4, 0.3, 0.2, 0.1), 16.0)},
        ),
        analysis(),
    )
    for name, weight, base in (("x:A/B", 0.4, 16.0), ("x:C/B", 0.0, 20.0), ("x:C/B:B", 0.1, 12.0)):
        core.instrument = name
        assert (core.weight[0], core.learned.base) == (weight, base)


def test_without_other_streams_nothing_is_beside():
    core = Confluence(CONFLUENCE, analysis())
    assert core.streams == ("bars.1m", *(f"features.{name}" for name, _ in TIMEFRAMES))
    empty = BesideFeatures("micro", ("spread_bps",), (), ("1m",))
    streams = Confluence(CONFLUENCE, analysis(), beside=(empty,)).streams
    assert "micro.1m" in streams
    assert "micro.5m" not in streams


def test_a_row_lives_two_bars():
    rows = streams(MICRO)
    rows["micro.1m"] = rows["micro.1m"][:50]
    last = int(rows["micro.1m"]["available_at"][-1])
    without = WHOLE._replace(dimensions=tuple(d for d in WHOLE.dimensions if d[0] != "bitcoin_beta"), instruments={})
    out = scored(without, (MICRO,), rows)["confluence"]
    gone = out["available_at"] >= last + 2 * MINUTE_NS
    assert (out["status"][gone][:, 1:3] == MISSING).all()
    assert (out["status"][~gone][:, 1] != MISSING).any()
