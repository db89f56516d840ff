"""The laws over every indicator that can be configured: no look-ahead, batch = streaming, anchoring, failures contained."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from cases import analysis as default_columns
from cases import breaking
from lab import ALL, START, deliver, digest, drive

from events.rows import BAR
from events.schema import COLD, CONVERGED, MISSING, SETTLED, SILENT, SYNTHETIC, WARMING
from events.times import DAY_NS, MINUTE_NS
from operators.analysis import Analysis, completed
from operators.dimensions import SCORES
from operators.history import FEW, Features
from operators.indicators import BAR_INPUTS, BUILTIN, TALIB_FUNCTIONS, Indicator, talib_indicator

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
    out["volume"], out["vwap"] = r.exponential(10, n), (out["high"] + out["low"]) / 2
    return out


def features(analysis, rows, chunk=ALL, restart=0.0):
    streams = {"bars.1m": rows}
    return drive(lambda: Features("1m", MINUTE_NS, analysis), streams, deliver(streams, chunk), restart)["features.1m"]


@pytest.fixture(params=TALIB_FUNCTIONS)
def any_indicator(request):
    """Each of TA-Lib's functions."""
    return talib_indicator(request.param)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_built_in_indicator_one_bar_at_a_time_and_in_blocks(name):
    """On top of ATR and of what it takes, with restarts; a prefix of the bars gives a prefix of the values."""
    analysis = Analysis(completed((BUILTIN[name],), (), ["atr_14"]), ())
    rows = bars(1_300)
    whole = features(analysis, rows, 400)
    assert features(analysis, rows, 1, restart=0.01).tobytes() == whole.tobytes()
    assert features(analysis, rows[:777], 50).tobytes() == whole[:777].tobytes()
    column = analysis.index[BUILTIN[name].columns[0]]
    assert (whole["status"][:, column] < COLD).sum() > 500
    if BUILTIN[name].wide is None and set(BUILTIN[name].inputs) <= set(BAR_INPUTS):
        columns = slice(column, column + len(BUILTIN[name].columns))
        for i in (100, 511, 512, 700, 1_299):
            assert np.array_equal(whole["values"][i, columns], anchored(BUILTIN[name], rows, i), equal_nan=True)
    assert (np.isnan(whole["values"]) == (whole["status"] >= COLD)).all()
    late = features(analysis, rows[200:], 99)
    both = (late["status"] == SETTLED) & (whole["status"][200:] == SETTLED)
    assert (late["values"] == whole["values"][200:])[both].all()


@pytest.fixture(
    params=["ADX", "ATR", "BBANDS", "EMA", "HT_SINE", "MACD", "MAXINDEX", "RSI", "SAR", "SMA", "STOCH", "SUPERTREND"]
)
def indicator(request):
    """One of each kind."""
    return talib_indicator(request.param)


def test_prefix_law(any_indicator):
    indicator, rows = any_indicator, bars()
    inputs = [rows[name].copy() for name in indicator.inputs]
    whole = indicator.batch(*inputs)
    for n in (indicator.lookback, indicator.lookback + 1, 300, 901, N - 1):
        part = indicator.batch(*[column[:n].copy() for column in inputs])
        for a, b in zip(part, whole):
            assert np.array_equal(a, b[:n], equal_nan=True)


def test_no_value_before_the_lookback(any_indicator):
    rows = bars(200)
    for column in any_indicator.batch(*[rows[name].copy() for name in any_indicator.inputs]):
        assert len(column) == 200
        assert np.isnan(column[: any_indicator.lookback]).all()
        if any_indicator.columns[0].split(".")[0] not in ("fractal", "acos", "asin"):  # none at most bars, none above 1
            assert not np.isnan(column[any_indicator.lookback :]).any()


def anchored(indicator, rows, i):
    """The values at bar `i` by the definition: the function over the anchored history."""
    since = int(np.searchsorted(rows["g"], (rows["g"][i] // indicator.history - 1) * indicator.history))
    inputs = [rows[name][since : i + 1].copy() for name in indicator.inputs]
    return np.array([column[-1] for column in indicator.batch(*inputs)], np.float64)


def test_every_function_one_bar_at_a_time_and_in_blocks(any_indicator):
    """Bit for bit TA-Lib's own values on the anchored history, with restarts."""
    rows, analysis = bars(), Analysis((any_indicator,), ())
    single, blocks = features(analysis, rows, 1, restart=0.01), features(analysis, rows, 300)
    assert single.tobytes() == blocks.tobytes()
    for i in [*range(any_indicator.lookback, N, 211), N - 1]:
        assert np.array_equal(single["values"][i], anchored(any_indicator, rows, i), equal_nan=True), i


@pytest.mark.parametrize(("chunk", "restart"), [(1, 0.0), (1, 0.02), (3, 0.0), (FEW, 0.05), (FEW + 1, 0.0), (200, 0.1)])
def test_any_split_gives_the_bits_of_the_anchored_batch(indicator, chunk, restart):
    rows, analysis = bars(), Analysis((indicator,), ())
    got = features(analysis, rows, chunk, restart)
    for i in [*range(indicator.lookback, N, 97), N - 1]:
        expected = anchored(indicator, rows, i)
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
    calls = [
        talib_indicator(fn) for fn in ("RSI", "ADX", "PLUS_DI", "MINUS_DI", "NATR", "CCI", "STOCH", "MFI", "WILLR")
    ]
    a, b = (features(Analysis(tuple(calls), ()), r)["values"] for r in (rows, scaled))
    assert np.array_equal(a, b, equal_nan=True)


def test_flat_windows_are_neutral_not_extreme():
    rows = bars(400)
    for field in ("open", "high", "low", "close"):
        rows[field][150:] = 50.0
    rows["volume"][150:] = 0.0
    rows["flags"][150:] = SYNTHETIC
    neutral = {
        "rsi": 50, "stoch.k": 50, "mfi": 50, "ultosc": 50, "willr": -50, "cci": 0, "cmo": 0, "macd.line": 0, "aroonosc": 0,
        "adx": 0, "plus_di": 0, "minus_di": 0, "bop": 0, "aroon.up": 50, "aroon.down": 50, "stochrsi.k": 50,
    }  # fmt: skip
    calls = [talib_indicator(fn.upper()) for fn in sorted({name.split(".")[0] for name in neutral})]
    analysis = Analysis((*calls, talib_indicator("ATR")), ())
    whole = features(analysis, rows)
    assert digest({"f": features(analysis, rows, 1, 0.05)}) == digest({"f": whole})
    values = {name: whole["values"][-1][place] for name, place in analysis.index.items()}
    settled_down = {name: values[name] for name in neutral if name not in ("rsi", "cmo", "stochrsi.k")}
    assert settled_down == {name: neutral[name] for name in settled_down}
    assert values["atr"] >= 0.0
    never_moved = bars(300)
    for field in ("open", "high", "low", "close"):
        never_moved[field] = 50.0
    still = features(analysis, never_moved)["values"][-1]
    assert {name: still[analysis.index[name]] for name in neutral} == neutral


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
    letters = [letter for letter in out["dead_letters"] if letter.source.endswith("/twice")]
    assert len(letters) == failed.sum()
    (infinite,) = (letter for letter in out["dead_letters"] if letter not in letters)
    assert infinite.offset == row["g"][100]
    assert infinite.detail.endswith("it gave an infinite value")
    assert {(x.reason, x.offset) for x in letters} == {("INDICATOR", int(g)) for g in row["g"][failed]}
    assert "twice failed at bar" in letters[0].detail


def test_a_wrong_length_is_a_failure_with_a_sentence():
    short = Indicator(("short",), lambda close: close[1:], ("close",), 64, 1, 0, ("lab", "short"))
    streams = {"bars.1m": bars(30)}
    out = drive(lambda: Features("1m", MINUTE_NS, Analysis((short,), ())), streams, deliver(streams, ALL))
    assert (out["features.1m"]["status"] == MISSING).all()
    assert "expected" in out["dead_letters"][0].detail


def test_scores_are_within_bounds_and_follow_their_inputs():
    analysis = default_columns()
    out = features(analysis, bars(800))
    for score in SCORES:
        column = analysis.index[score.column]
        u, status = out["values"][:, column], out["status"][:, column]
        assert (np.isnan(u) == (status >= COLD)).all()
        assert (np.abs(u[~np.isnan(u)]) <= 1).all()
        needs = [analysis.index[n] for n in score.needs if n not in BAR_INPUTS]
        begins = np.append(True, np.diff(out["ts_open"] // DAY_NS) > 0)  # where the day's average has no band yet
        assert ((status == out["status"][:, needs].max(axis=1)) | begins).all()
        assert (~np.isnan(u)).sum() > 150


def test_values_are_talibs_own():
    rows = bars(500)
    got = features(Analysis((talib_indicator("RSI"), talib_indicator("MACD")), ()), rows)
    since = int(np.searchsorted(rows["g"], (rows["g"][-1] // 512 - 1) * 512))
    close = rows["close"][since:].copy()
    assert got["values"][-1, 0] == talib.RSI(close, 14)[-1]
    assert got["values"][-1, 1:].tolist() == [column[-1] for column in talib.MACD(close, 12, 26, 9)]


def mean_of_16(column):
    """The mean of the last 16 values; NaN where one of them is."""
    out = np.full(len(column), np.nan)
    for i in range(15, len(column)):
        out[i] = sum(column[i - 15 : i + 1].tolist()) / 16
    return out


def composed(history=64):
    """Two levels on top of TA-Lib's: a mean of RSI, and its distance to RSI times a bar column."""
    rsi = talib_indicator("RSI", timeperiod=5)
    mean = Indicator(("mean",), mean_of_16, ("rsi_5",), history, 16, 15, ("lab", "mean"))
    apart = Indicator(
        ("apart", "close_2"),
        lambda m, x, c: ((x - m) * c, 2 * c),
        ("mean", "rsi_5", "close"),
        64,
        1,
        0,
        ("lab", "apart"),
    )
    return Analysis((apart, mean, rsi), ())


@pytest.mark.parametrize(("chunk", "restart"), [(1, 0.0), (1, 0.03), (FEW, 0.05), (FEW + 1, 0.0), (333, 0.2)])
def test_composed_columns_any_split(chunk, restart):
    rows = bars(1_200)
    whole = features(composed(), rows)
    assert features(composed(), rows, chunk, restart).tobytes() == whole.tobytes()
    index = composed().index
    rsi, mean, apart = (whole["values"][:, index[name]] for name in ("rsi_5", "mean", "apart"))
    for i in (100, 700, 1_199):
        assert mean[i] == sum(rsi[i - 15 : i + 1].tolist()) / 16
        assert apart[i] == (rsi[i] - mean[i]) * rows["close"][i]


def test_composed_columns_are_computed_in_order_and_no_better_than_what_they_take():
    analysis = composed()
    assert [i.columns[0] for i in analysis.indicators] == ["rsi_5", "mean", "apart"]
    assert analysis.derived == ("rsi_5", "mean")
    rows = bars(1_800)
    out = features(analysis, rows)
    status = {name: out["status"][:, analysis.index[name]] for name in analysis.columns}
    assert (status["mean"] >= status["rsi_5"]).all()
    assert (status["apart"] >= status["mean"]).all()
    settled = status["mean"] == SETTLED
    assert settled.sum() > 300
    first = int(np.argmax(status["rsi_5"] == SETTLED))
    start = (rows["g"] // 64 - 1) * 64
    assert (settled == (start >= rows["g"][first])).all(), "settled means that all of its history is"
    assert (np.isnan(out["values"][:, analysis.index["close_2"]]) == (status["close_2"] >= COLD)).all()


def test_two_starts_agree_on_settled_composed_columns():
    rows, analysis = bars(3_000), composed()
    a, b = features(analysis, rows, 200)[413:], features(analysis, rows[413:], 1)
    both = (a["status"] == SETTLED) & (b["status"] == SETTLED)
    assert both[:, analysis.index["apart"]].sum() > 500
    assert (a["values"] == b["values"])[both].all()
    assert not (a["values"] == b["values"]).all()


def test_two_starts_agree_on_the_settled_regime_whatever_the_unit_of_the_price():
    """Three histories on top of each other: NATR, its percentile, the regime."""
    rows, analysis = bars(3_400), default_columns()
    column = analysis.index["regime"]
    a, b = features(analysis, rows, 200)[413:], features(analysis, rows[413:], 1, restart=0.002)
    both = (a["status"][:, column] == SETTLED) & (b["status"][:, column] == SETTLED)
    assert both.sum() > 700
    assert (a["values"][both, column] == b["values"][both, column]).all()
    assert len(set(a["values"][both, column].tolist())) >= 4
    scaled = rows.copy()
    for field in ("open", "high", "low", "close"):
        scaled[field] *= 8.0
    again = features(analysis, scaled)[413:]
    for name in ("atr_pctl", "regime"):
        assert np.array_equal(
            again["values"][:, analysis.index[name]], a["values"][:, analysis.index[name]], equal_nan=True
        )


def test_what_a_failing_indicator_feeds_is_missing_too():
    broken = breaking(float(bars(300)["close"][100]))
    doubled = Indicator(("doubled",), lambda x: 2 * x, ("twice",), 64, 1, 0, ("lab", "doubled"))
    analysis = Analysis((*broken.indicators, doubled), ())
    out = features(analysis, bars(300), 7)
    failed = out["status"][:, analysis.index["twice"]] == MISSING
    assert failed.any()
    assert (out["status"][failed, analysis.index["doubled"]] == MISSING).all()
    assert not np.isnan(out["values"][:100, analysis.index["doubled"]]).any()


def test_circles_and_unknown_columns_are_refused():
    def one(name, *inputs):
        return Indicator((name,), lambda *x: x[0], inputs, 64, 1, 0, ("lab", name))

    with pytest.raises(ValueError, match="in a circle: a -> b -> c -> a"):
        Analysis((one("a", "b"), one("b", "c"), one("c", "a")), ())
    with pytest.raises(ValueError, match="a needs the column 'open_interest'"):
        Analysis((one("a", "open_interest"),), ())
    with pytest.raises(ValueError, match="two indicators make a column 'a'"):
        Analysis((one("a", "close"), one("a", "open")), ())


@pytest.mark.parametrize("chunk", [1, 7, FEW + 1, ALL])
def test_an_indicator_may_be_silent(chunk):
    def up(close):
        rise = np.append(np.nan, np.diff(close))
        return np.sign(rise), rise <= 0

    rows, analysis = (
        bars(200),
        Analysis((Indicator(("up",), up, ("close",), 64, 2, 1, ("lab", "up"), silent=True),), ()),
    )
    out = features(analysis, rows, chunk)
    rise = np.append(np.nan, np.diff(rows["close"]))
    assert (out["status"][rise <= 0, 0] == SILENT).all()
    assert (out["status"][rise > 0, 0] <= CONVERGED).all()
    assert (np.isnan(out["values"][:, 0]) == (out["status"][:, 0] >= COLD)).all()
    assert out["status"][0, 0] == COLD
