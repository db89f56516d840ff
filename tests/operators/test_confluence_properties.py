"""Properties C7 and C8 of file 05 over the whole path: trades to bars, to features, to scores, to confluence."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import CONFLUENCE, TIMEFRAMES, analysis, made
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, START, deliver, drive

from events.rows import TRADE
from events.schema import COLD, NEVER, SETTLED
from events.times import MINUTE_NS, SECOND_NS
from operators.analysis import Analysis
from operators.bars import Bars
from operators.confluence import GATES, Confluence
from operators.dimensions import SCORES
from operators.history import Features
from operators.indicators.regime import LOW_LIQUIDITY

MIRROR = 200.0
BLEND = (0.5, 0.3, 0.2)
WHOLE = CONFLUENCE._replace(
    timeframes=tuple((name, length, weight) for (name, length), weight in zip(TIMEFRAMES, BLEND)),
    dimensions=tuple((name, 1.0) for name in dict.fromkeys(score.dimension for score in analysis().scores)),
)


def grid_trades(seed, n=2_600):
    """A random market whose prices are multiples of 1/64 around MIRROR, so that mirroring rounds nothing."""
    draw, out = np.random.default_rng(seed), np.zeros(n, TRADE)
    out["available_at"] = START + np.cumsum(draw.integers(1, 25, n)) * SECOND_NS
    out["ts_recv"], out["seq"], out["trade_id"] = out["available_at"], np.arange(n), np.arange(n)
    drift = np.round(2 * np.sin(np.arange(n) / draw.integers(40, 400))).astype(int)
    out["price"] = MIRROR + np.cumsum(draw.integers(-6, 7, n) + drift) / 64
    out["qty"], out["side"] = draw.integers(1, 200, n) / 8, draw.choice([-1, 1], n)
    return out


def mirrored(trades):
    """Prices p to 2 * MIRROR - p, and who bought sold."""
    out = trades.copy()
    out["price"], out["side"] = 2 * MIRROR - trades["price"], -trades["side"]
    return out


def path(trades):
    """All that is made of these trades on the way to the score, and the confluence rows."""
    out = drive(lambda: Bars(TIMEFRAMES, 60), ["trades"], deliver({"trades": trades}, ALL))
    for name, length in TIMEFRAMES:
        source = {f"bars.{name}": out[f"bars.{name}"]}
        out |= drive(lambda n=name, t=length: Features(n, t, analysis()), source, deliver(source, ALL))
    return out | score(out)


def score(made_of):
    streams = {name: made_of[name] for name in ("bars.1m", *(f"features.{name}" for name, _ in TIMEFRAMES))}
    return drive(lambda: Confluence(WHOLE, analysis()), streams, deliver(streams, ALL))


@given(seed=st.integers(0, 2**32 - 1))
def test_c7_mirrored_prices_negate_every_score(seed):
    trades = grid_trades(seed)
    up, down = path(trades), path(mirrored(trades))
    columns = [analysis().index[score.column] for score in analysis().scores]
    for name, _ in TIMEFRAMES:
        a, b = up[f"features.{name}"], down[f"features.{name}"]
        u, v = a["values"][:, columns], b["values"][:, columns]
        assert (a["status"][:, columns] == b["status"][:, columns]).all()
        np.testing.assert_allclose(v, -u, rtol=0, atol=1e-9)
    ours, theirs = up["confluence"], down["confluence"]
    scored = ~np.isnan(ours["m"])
    assert scored.sum() > 300
    assert np.abs(ours["m"][scored]).max() > 0.1
    for field, sign in (("u", -1), ("m", -1), ("contribution", -1), ("q", 1), ("coverage", 1), ("dispersion", 1)):
        np.testing.assert_allclose(theirs[field], sign * ours[field], rtol=0, atol=1e-9)
    np.testing.assert_allclose(theirs["score"], 100 - ours["score"], rtol=0, atol=1e-9)


def test_c7_speaks_of_every_score_there_is():
    """In the longest of its markets each score of the base timeframe has values, up and down."""
    rows = path(grid_trades(1, 14_000))["features.1m"]
    for score in analysis().scores:
        u = rows["values"][:, analysis().index[score.column]]
        assert (~np.isnan(u)).sum() > 20, score.column
        assert np.nanmin(u) < 0 < np.nanmax(u), score.column


@cache
def as_made():
    """The lab's own bars and features, with the confluence of `WHOLE`."""
    return {name: rows for name, rows in made().items() if name.startswith(("bars", "features"))} | score(made())


@pytest.mark.parametrize(("name", "length"), TIMEFRAMES[1:])
@given(data=st.data())
def test_c8_a_feature_is_invisible_before_its_bar_has_closed(name, length, data):
    """The features of one bar are overturned: not a byte changes in records stamped before its close, and some do from there on."""
    whole, stream = as_made(), f"features.{name}"
    i = data.draw(st.integers(0, len(whole[stream]) - 1))
    changed = {key: rows.copy() for key, rows in whole.items()}
    row = changed[stream][i : i + 1]
    columns = [analysis().index[score.column] for score in analysis().scores]
    row["values"][:, columns], row["status"][:, columns] = (
        -np.sign(np.nan_to_num(row["values"][:, columns], nan=1)),
        SETTLED,
    )
    closes = int(row["ts_open"][0]) + length
    assert int(row["available_at"][0]) == closes
    before, after = whole["confluence"], score(changed)["confluence"]
    early = before["available_at"] < closes
    assert after[early].tobytes() == before[early].tobytes()
    at = np.flatnonzero(before["available_at"] == closes)
    assert all(after[k].tobytes() != before[k].tobytes() for k in at)
    until = before["available_at"] >= closes + 2 * length
    assert (after["u"][until] == before["u"][until])[~np.isnan(before["u"][until])].all()


def test_c8_the_thirty_minutes_from_ten_are_first_seen_at_half_past():
    whole = as_made()
    rows = whole["features.30m"]
    of_day = rows["ts_open"] // MINUTE_NS % 1440
    k = int(np.flatnonzero((of_day % 60 == 0) & (rows["status"][:, analysis().index["structure.bos"]] >= COLD))[0])
    changed = {name: stream.copy() for name, stream in whole.items()}
    changed["features.30m"]["values"][k], changed["features.30m"]["status"][k] = 1.0, SETTLED
    a, b = whole["confluence"], score(changed)["confluence"]
    differ = np.flatnonzero([x.tobytes() != y.tobytes() for x, y in zip(a, b)])
    assert a["available_at"][differ[0]] == rows["ts_open"][k] + 30 * MINUTE_NS


def test_the_regime_is_that_of_the_newest_closed_bar_and_gates_entries():
    whole = {name: rows.copy() for name, rows in as_made().items()}
    column = analysis().index["regime"]
    rows = whole["features.30m"]
    codes = np.array([0.0, 4.0, 3.0, -2.0, np.nan])[np.arange(len(rows)) % 5]
    rows["values"][:, column], rows["status"][:, column] = codes, np.where(np.isnan(codes), COLD, SETTLED)
    streams = {name: whole[name] for name in ("bars.1m", *(f"features.{name}" for name, _ in TIMEFRAMES))}
    settings_ = WHOLE._replace(regime_timeframe="30m")
    out = drive(lambda: Confluence(settings_, analysis()), streams, deliver(streams, 7), restart=0.1)["confluence"]
    seen = set()
    for row in out:
        at = int(np.searchsorted(rows["available_at"], row["available_at"], side="right")) - 1
        fresh = at >= 0 and row["available_at"] - rows["available_at"][at] < 60 * MINUTE_NS
        expected = int(codes[at]) if fresh and not np.isnan(codes[at]) else NEVER
        assert row["regime"] == expected
        assert row["gates"][GATES.index("regime")] == (expected != LOW_LIQUIDITY)
        seen.add(expected)
    assert seen == {0, 4, 3, -2, NEVER}


def test_without_the_indicator_there_is_no_regime_and_no_swing():
    plain = Analysis(tuple(i for i in analysis().indicators if i.columns[0] not in ("regime", "swing.high")), SCORES)
    kept = [analysis().index[name] for name in plain.columns]
    streams = {"bars.1m": as_made()["bars.1m"]}
    for name, _ in TIMEFRAMES:
        rows = as_made()[f"features.{name}"]
        streams[f"features.{name}"] = np.zeros(len(rows), plain.dtype)
        for field in rows.dtype.names:
            streams[f"features.{name}"][field] = rows[field][:, kept] if rows[field].ndim > 1 else rows[field]
    out = drive(lambda: Confluence(WHOLE, plain), streams, deliver(streams, ALL))
    assert (out["confluence"]["regime"] == NEVER).all()
    assert (out["confluence"]["gates"][:, GATES.index("regime")] == 1).all()
    assert np.isnan(out["votes"]["swing_low"]).all()
    assert out["confluence"]["u"].tobytes() == as_made()["confluence"]["u"].tobytes()


def test_votes_carry_the_newest_swings_of_the_risk_timeframe():
    out, rows = as_made(), as_made()["features.1m"]
    at = np.searchsorted(rows["available_at"], out["votes"]["available_at"])
    for field, name in (("swing_high", "swing.high"), ("swing_low", "swing.low")):
        assert np.array_equal(out["votes"][field], rows["values"][at, analysis().index[name]], equal_nan=True)
        assert np.isfinite(out["votes"][field]).sum() > 300
