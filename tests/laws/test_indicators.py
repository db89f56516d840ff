"""The laws over every indicator that can be configured: no look-ahead, batch = streaming, anchoring, failures contained."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from cases import breaking
from lab import ALL, START, deliver, digest, drive

from events.rows import BAR
from events.schema import COLD, CONVERGED, MISSING, SETTLED, SYNTHETIC, WARMING
from events.times import MINUTE_NS
from operators.dimensions import SCORES
from operators.history import FEW, Analysis, Features
from operators.indicators import BAR_INPUTS, TALIB_FUNCTIONS, Indicator, talib_indicator

N = 1_400


def bars(n: int = N, seed: int = 3, first: int = START // MINUTE_NS) -> np.ndarray:
    r, out = np.random.default_rng(seed), np.zeros(n, BAR)
    out["g"] = first + np.arange(n)
    out["ts_open"], out["ts_close"] = out["g"] * MINUTE_NS, (out["g"] + 1) * MINUTE_NS
    out["available_at"] = out["ts_close"]
    out["close"] = 100 * np.exp(np.cumsum(r.normal(0, 2e-3, n)))
    out["open"] = np.append(100.0, out["close"][:-1])
    out["high"] = np.maximum(out["open"], out["close"]) * (1 + r.random(n) * 1e-3)
    out["low"] = np.minimum(out["open"], out["close"]) * (1 - r.random(n) * 1e-3)
    out["volume"] = r.exponential(10, n)
    return out


def features(analysis, rows, chunk=ALL, restart=0.0):
    streams = {"bars.1m": rows}
    return drive(lambda: Features("1m", MINUTE_NS, analysis), streams, deliver(streams, chunk), restart)["features.1m"]


@pytest.fixture(params=sorted(TALIB_FUNCTIONS))
def indicator(request):
    return talib_indicator(request.param)


def test_prefix_law(indicator):
    rows = bars()
    inputs = [rows[name].copy() for name in indicator.inputs]
    whole = indicator.batch(*inputs)
    for n in (indicator.lookback, indicator.lookback + 1, 300, 901, N - 1):
        part = indicator.batch(*[column[:n].copy() for column in inputs])
        for a, b in zip(part, whole):
            assert np.array_equal(a, b[:n], equal_nan=True)


def test_first_value_is_where_the_lookback_says(indicator):
    rows = bars(200)
    for column in indicator.batch(*[rows[name].copy() for name in indicator.inputs]):
        assert np.isnan(column[: indicator.lookback]).all()
        assert not np.isnan(column[indicator.lookback :]).any()


@pytest.mark.parametrize(("chunk", "restart"), [(1, 0.0), (1, 0.02), (3, 0.0), (FEW, 0.05), (FEW + 1, 0.0), (200, 0.1)])
def test_any_split_gives_the_bits_of_the_anchored_batch(indicator, chunk, restart):
    rows, analysis = bars(), Analysis((indicator,), ())
    got = features(analysis, rows, chunk, restart)
    g, history = rows["g"], indicator.history
    for i in [*range(indicator.lookback, N, 97), N - 1]:
        since = int(np.searchsorted(g, (g[i] // history - 1) * history))
        inputs = [rows[name][since : i + 1].copy() for name in indicator.inputs]
        expected = np.array([column[-1] for column in indicator.batch(*inputs)])
        assert np.array_equal(got["values"][i], expected, equal_nan=True), (i, got["values"][i], expected)


def test_a_jump_over_whole_blocks_starts_a_new_history(indicator):
    """Handles opened ahead of a block change must not serve a block that is not the next one."""
    rows = bars(6 * indicator.history)
    kept = rows[rows["g"] // indicator.history % 3 == rows["g"][0] // indicator.history % 3]
    assert np.diff(kept["g"]).max() > indicator.history
    analysis = Analysis((indicator,), ())
    whole = features(analysis, kept)
    assert digest({"f": features(analysis, kept, 1)}) == digest({"f": whole})


def test_statuses_follow_the_history(indicator):
    rows = bars(3 * indicator.history + 700)
    status = features(Analysis((indicator,), ()), rows)["status"][:, 0]
    seen = np.arange(1, len(rows) + 1)
    assert (status[seen <= indicator.lookback] == COLD).all()
    warm = (seen > indicator.lookback) & (seen < indicator.stable)
    assert (status[warm] == WARMING).all()
    start = (rows["g"] // indicator.history - 1) * indicator.history
    settled = (rows["g"][0] <= start) & (seen >= indicator.stable)
    assert (status[settled] == SETTLED).all()
    assert settled.sum() > 100
    assert (status[~settled & (seen >= indicator.stable)] == CONVERGED).all()


def test_two_starts_agree_where_both_are_settled(indicator):
    rows, analysis = bars(4 * indicator.history + 413), Analysis((indicator,), ())
    late = 413
    a, b = features(analysis, rows, 51), features(analysis, rows[late:], 7, restart=0.01)
    a = a[late:]
    both = (a["status"] == SETTLED) & (b["status"] == SETTLED)
    assert both.sum() > indicator.history
    assert (a["values"] == b["values"])[both].all()


def test_a_power_of_two_in_the_price_leaves_scale_free_columns_as_they_are():
    rows = bars(700)
    scaled = rows.copy()
    for field in ("open", "high", "low", "close"):
        scaled[field] *= 8.0
    calls = [talib_indicator(fn) for fn in ("RSI", "ADX", "PLUS_DI", "MINUS_DI", "NATR")]
    a, b = (features(Analysis(tuple(calls), ()), r)["values"] for r in (rows, scaled))
    assert np.array_equal(a, b, equal_nan=True)


def test_flat_windows_are_neutral_not_extreme():
    rows = bars(400)
    for field in ("open", "high", "low", "close"):
        rows[field][150:] = 50.0
    rows["flags"][150:] = SYNTHETIC
    calls = [talib_indicator(fn) for fn in ("RSI", "ADX", "PLUS_DI", "MACD", "ATR")]
    analysis = Analysis(tuple(calls), ())
    whole = features(analysis, rows)
    assert digest({"f": features(analysis, rows, 1, 0.05)}) == digest({"f": whole})
    column = analysis.index
    flat = whole["values"][-1]
    assert flat[column["adx_14"]] == flat[column["plus_di_14"]] == flat[column["macd_12_26_9.line"]] == 0.0
    assert flat[column["atr_14"]] >= 0.0
    never_moved = bars(100)
    for field in ("open", "high", "low", "close"):
        never_moved[field] = 50.0
    assert features(analysis, never_moved)["values"][-1][column["rsi_14"]] == 50.0


@pytest.mark.parametrize("chunk", [1, 5, 20, ALL])
def test_a_failing_indicator_costs_its_own_values_and_no_others(chunk):
    rows = bars(300)
    streams = {"bars.1m": rows}
    broken = breaking(float(rows["close"][100]))
    out = drive(lambda: Features("1m", MINUTE_NS, broken), streams, deliver(streams, chunk))
    row = out["features.1m"]
    twice, inverse, rsi = (broken.index[name] for name in ("twice", "inverse", "rsi_14"))
    failed = row["status"][:, twice] == MISSING
    assert failed[100]
    assert not failed[:100].any()
    assert np.isnan(row["values"][failed, twice]).all()
    assert (row["values"][:100, twice] == 2 * rows["close"][:100]).all()
    assert np.isnan(row["values"][100, inverse])
    assert not np.isinf(row["values"]).any()
    assert not np.isnan(row["values"][20:, rsi]).any()
    letters = out["dead_letters"]
    assert len(letters) == failed.sum()
    assert {(x.reason, x.offset) for x in letters} == {("INDICATOR", int(g)) for g in row["g"][failed]}
    assert "twice failed at bar" in letters[0].detail


def test_a_wrong_length_is_a_failure_with_a_sentence():
    short = Indicator(("short",), lambda close: close[1:], ("close",), 64, 1, 0, ("lab", "short"))
    streams = {"bars.1m": bars(30)}
    out = drive(lambda: Features("1m", MINUTE_NS, Analysis((short,), ())), streams, deliver(streams, ALL))
    assert (out["features.1m"]["status"] == MISSING).all()
    assert "expected" in out["dead_letters"][0].detail


def test_scores_are_within_bounds_and_follow_their_inputs():
    calls = [talib_indicator(fn) for fn in ("RSI", "ATR", "ADX", "PLUS_DI", "MINUS_DI", "MACD")]
    analysis = Analysis((*calls, talib_indicator("EMA", timeperiod=50)), SCORES)
    out = features(analysis, bars(800))
    for score in SCORES:
        column = analysis.index[score.column]
        u, status = out["values"][:, column], out["status"][:, column]
        assert (np.isnan(u) == (status >= COLD)).all()
        assert (np.abs(u[~np.isnan(u)]) <= 1).all()
        needs = [analysis.index[n] for n in score.needs if n not in BAR_INPUTS]
        assert (status == out["status"][:, needs].max(axis=1)).all()
        assert (~np.isnan(u)).sum() > 300


def test_values_are_talibs_own():
    rows = bars(500)
    got = features(Analysis((talib_indicator("RSI"), talib_indicator("MACD")), ()), rows)
    since = int(np.searchsorted(rows["g"], (rows["g"][-1] // 512 - 1) * 512))
    close = rows["close"][since:].copy()
    assert got["values"][-1, 0] == talib.RSI(close, 14)[-1]
    assert got["values"][-1, 1:].tolist() == [column[-1] for column in talib.MACD(close, 12, 26, 9)]
