"""The vectors of file 00 section 9, 02 section 7, 03 sections 8 to 10 and 05 section 2 for the indicators."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from test_indicator_reference import grid, near, series1, series2

from events.schema import SYNTHETIC
from events.times import DAY_NS, MINUTE_NS
from operators.dimensions.technical import cci_score, in_atr_score
from operators.dimensions.volume import participation_score, vwap_score
from operators.indicators.heikin_ashi import heikin_ashi
from operators.indicators.momentum import awesome_oscillator
from operators.indicators.regime import REGIMES, RegimeHandle, dwell, p_trend, regime, regime_codes
from operators.indicators.rolling import percentile_rank, weighted_mean, z_score
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

CODES = {name: code for code, name in REGIMES.items()}


def test_heikin_ashi():
    bars = np.array([(10, 12, 9, 11), (11, 13, 10, 12), (12, 12, 8, 9)], float)
    columns = np.array(heikin_ashi(*np.ascontiguousarray(bars.T)))
    assert columns.T.tolist() == [[10.5, 12, 9, 10.5], [10.5, 13, 10, 11.5], [11, 12, 8, 10.25]]


def test_z_score():
    z = z_score(np.arange(1.0, 35.0))
    assert math.isnan(z[31])
    assert z[32:].tolist() == [near(1.7870501915438117), near(1.7853571071357126)]


def test_weighted_mean():
    assert weighted_mean(np.array([44.25, 43.75, 44.5, 45.0, 44.75]), 5)[-1] == near(44.6)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (lambda b: chaikin_money_flow(b.high, b.low, b.close, b.volume), -0.0006863316337365566),
        (lambda b: on_balance_volume(b.close, b.volume), 0.39821601414743674),
        (lambda b: accumulation_slope(b.high, b.low, b.close, b.volume), 0.0008625981160553287),
        (lambda b: day_vwap(b.ts_open, b.high, b.low, b.close, b.vwap, b.volume)[0], 106.0991118401427),
        (lambda b: day_vwap(b.ts_open, b.high, b.low, b.close, b.vwap, b.volume)[1], 4.886514603343409),
        (
            lambda b: vwap_score(b.close, *day_vwap(b.ts_open, b.high, b.low, b.close, b.vwap, b.volume)),
            0.7877333213205474,
        ),
        (lambda b: awesome_oscillator(b.high, b.low), 5.958802468126422),
        (lambda b: in_atr_score(awesome_oscillator(b.high, b.low), b.atr()), 0.9905917606484012),
        (lambda b: cci_score(b.talib("CCI", 20)), 0.6159192218493168),
        (lambda b: realised_volatility(b.close, 1.0), 7.673643577380253),
        (lambda b: parkinson_volatility(b.high, b.low), 0.011103140838463898),
        (lambda b: efficiency_ratio(b.close), 0.07946667140567412),
        (lambda b: range_position(b.high, b.low, b.close), 0.9206299186867323),
        (lambda b: p_trend(b.talib("ADX")), 0.2950208897713809),
    ],
    ids=[
        *(
            "cmf_20",
            "obv_14",
            "adl_20",
            "vwap_d",
            "vwap_band",
            "vwap",
            "ao_5_34",
            "ao",
            "cci",
            "rv_60",
            "park_60",
            "er_20",
        ),
        *("range_pos", "p_trend"),
    ],
)
def test_series1(column, expected):
    assert column(series1())[119] == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_swings_and_breaks_of_eleven_bars():
    high = np.array([10, 11, 12, 11, 10.5, 11.5, 13, 12.5, 12, 11, 10])
    low = np.array([9, 10, 11, 10, 9.5, 10.5, 12, 11.5, 11, 9.8, 9.2])
    close = np.array([9.5, 10.8, 11.5, 10.2, 10, 11.2, 12.6, 11.8, 11.2, 9.9, 9.4])
    highs, lows = swings(high, low, 2)
    assert [(t, price) for t, price in enumerate(highs) if not math.isnan(price)] == [(4, 12), (8, 13)]
    assert [(t, price) for t, price in enumerate(lows) if not math.isnan(price)] == [(6, 9.5)]
    top, bottom, trend, broken, _ = structure(high, low, close, np.full(11, math.nan), 2)
    assert [(t, code) for t, code in enumerate(broken) if code] == [(6, 1), (10, -2)]
    assert (top[6], bottom[10], trend[5], trend[6], trend[10]) == (12, 9.5, 0, 1, -1)


def test_structure_of_series2():
    bars = series2(600)
    highs, lows = swings(bars.high, bars.low)
    assert (np.isfinite(highs).sum(), np.isfinite(lows).sum()) == (36, 38)
    top, _, trend, broken, swept = structure(bars.high, bars.low, bars.close, bars.atr())
    assert Counter(broken[broken != 0]) == {1: 5, -1: 9, 2: 7, -2: 7}
    assert Counter(swept[swept != 0]) == {1: 6, -1: 3}
    last = int(np.flatnonzero(broken)[-1])
    assert (last, broken[last], trend[599]) == (585, 2, 1)
    assert top[last] == near(99.46850698315507)
    score, silent = bos_score(broken)
    assert score[599] == near(2 ** (-14 / 10))
    assert silent.sum() == np.flatnonzero(broken)[0] - 10
    score, silent = sweep_score(swept, bars.atr())
    newest = int(np.flatnonzero(swept)[-1])
    assert score[newest + 25] == near(swept[newest] * 2**-5)
    assert (math.isnan(score[newest + 26]), silent[newest + 26]) == (True, 1)


def test_newest_swings_are_those_of_the_structure_whatever_rows_are_asked_for():
    bars = grid(5, 420)
    expected = structure(bars.high, bars.low, bars.close, bars.atr())[:2]
    assert np.isfinite(expected[0]).sum() > 300
    for since in (0, 9, 10, 11, 57, 300, 409, len(bars.close) - 1):
        for column, full in zip(newest_swings(bars.high, bars.low, 5, since), expected):
            assert np.isnan(column[:since]).all()
            assert np.array_equal(column[since:], full[since:], equal_nan=True)


def test_percentile_rank_of_the_rows_that_are_asked_for():
    x = np.where(np.arange(700) % 7 == 3, math.nan, np.round(np.sin(np.arange(700)) * 20))
    whole = percentile_rank(x, 512)
    assert np.isnan(whole[: 512 // 4]).all()
    assert whole[600] == sum((v < x[600]) + (v == x[600]) / 2 for v in x[88:600]) / np.isfinite(x[88:600]).sum()
    assert np.array_equal(percentile_rank(x, 512, 650)[650:], whole[650:], equal_nan=True)


def test_a_handle_of_the_regime_goes_on_where_it_was_opened():
    bars = series2(900)
    inputs = [bars.talib(name) for name in ("ADX", "PLUS_DI", "MINUS_DI")] + [percentile_rank(bars.atr(), 512)]
    whole = regime_codes(*inputs)
    assert len(set(whole.tolist())) >= 4
    handle = RegimeHandle(*(column[:400] for column in inputs))
    assert [handle.value] + [handle.update(*row) for row in np.array(inputs).T[400:].tolist()] == whole[399:].tolist()


def test_dwell():
    raw = "RANGING TREND_UP TREND_UP HIGH_VOL TREND_UP TREND_UP TREND_UP RANGING TREND_UP RANGING RANGING RANGING"
    expected = ["RANGING"] * 6 + ["TREND_UP"] * 5 + ["RANGING"]
    assert [REGIMES[code] for code in dwell(np.array([CODES[name] for name in raw.split()]))] == expected


def test_rules_of_the_regime_in_order():
    def raw(adx, plus, minus, atr_pctl=math.nan, depth=math.nan, spread=math.nan):
        return REGIMES[int(regime(*(np.array([float(x)]) for x in (adx, plus, minus, atr_pctl, depth, spread)))[1][0])]

    assert raw(45, 30, 10, 0.99, 0.04) == raw(45, 30, 10, 0.99, 0.5, 0.96) == "LOW_LIQUIDITY"
    assert raw(45, 30, 10, 0.96, 0.05, 0.95) == "HIGH_VOL"
    assert (raw(40, 30, 10, 0.95), raw(40, 10, 30)) == ("STRONG_TREND_UP", "STRONG_TREND_DOWN")
    assert (raw(39.9, 30, 10), raw(25, 10, 30), raw(24.9, 30, 10)) == ("TREND_UP", "TREND_DOWN", "RANGING")
    assert raw(math.nan, math.nan, math.nan) == raw(50, 20, 20) == "RANGING"


@pytest.mark.parametrize(("start", "label"), [("TREND_UP", "TREND_UP"), ("HIGH_VOL", "RANGING")])
def test_a_trend_goes_on_down_to_20(start, label):
    adx = np.array([30.0, 30.0, 30.0, 20.0, 19.9])
    volatile = np.where((np.arange(5) < 3) & (start == "HIGH_VOL"), 1.0, 0.0)
    nothing = np.full(5, math.nan)
    codes, raw = regime(adx, np.full(5, 9.0), np.full(5, 1.0), volatile, nothing, nothing)
    assert [REGIMES[code] for code in codes] == ["RANGING"] * 2 + [start] * 3
    assert [REGIMES[code] for code in raw[3:]] == [label, "RANGING"]


def test_relative_volume_of_the_slot():
    ts_open = np.arange(9 * 48) * 30 * MINUTE_NS
    flags, volume = np.zeros(9 * 48, np.uint16), np.ones(9 * 48)
    today = 8 * 48 + 5
    for day, traded in enumerate((100.0, 200.0, 150.0)):
        volume[(day + 5) * 48 + 5] = traded
        flags[(day + 1) * 48 + 5] = SYNTHETIC
    flags[4 * 48 + 5] = SYNTHETIC
    volume[today] = 300.0
    assert relative_volume(ts_open, volume, flags)[today] == 2.0
    volume[5], flags[today] = 1e9, SYNTHETIC  # 8 days ago does not count; a synthetic bar has a ratio of its own
    assert relative_volume(ts_open, volume, flags)[today] == 2.0
    flags[7 * 48 + 5] = SYNTHETIC  # two days are not enough: the 30 bars before, all of volume 1
    assert relative_volume(ts_open, volume, flags)[today] == 300.0
    flags[today - 15 : today] = SYNTHETIC
    assert relative_volume(ts_open, volume, flags)[today] == 300.0
    flags[today - 16] = SYNTHETIC  # 14 of 30 are not enough
    assert math.isnan(relative_volume(ts_open, volume, flags)[today])


@pytest.mark.parametrize("seed", range(3))
def test_relative_volume_agrees_with_its_definition(seed):
    bars = grid(seed, 600)
    volume_at = {ts: volume for ts, volume, flag in zip(bars.ts_open, bars.volume, bars.flags) if not flag & SYNTHETIC}
    for t, value in enumerate(relative_volume(bars.ts_open, bars.volume, bars.flags)):
        days = [ts for ts in (bars.ts_open[t] - k * DAY_NS for k in range(1, 8)) if ts in volume_at]
        recent = [ts for ts in bars.ts_open[max(t - 30, 0) : t] if ts in volume_at]
        used = days if len(days) >= 3 else recent if len(recent) >= 15 else []
        if t < 30 or not used:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(bars.volume[t] * len(used) / math.fsum(volume_at[ts] for ts in used))


def test_vwap_takes_the_price_of_the_bar_and_starts_anew_at_midnight():
    ts_open = DAY_NS - 2 * MINUTE_NS + np.arange(5) * MINUTE_NS
    price, vwap = np.array([10.0, 11.0, 12.0, 20.0, 20.0]), np.array([math.nan, 12.0, math.nan, math.nan, 26.0])
    volume = np.array([1.0, 1.0, 0.0, 2.0, 1.0])
    mean, band = day_vwap(ts_open, price, price, price, vwap, volume)
    np.testing.assert_array_equal(mean, [10.0, 11.0, math.nan, 20.0, 22.0])
    np.testing.assert_allclose(band, [0.0, 1.0, math.nan, 0.0, math.sqrt(8.0)])


def test_flat_bars():
    flat, some, none = np.full(80, 100.1), np.full(80, 0.3), np.zeros(80)
    opens, nothing = np.arange(80) * MINUTE_NS, np.full(80, math.nan)
    mean, band = day_vwap(opens, flat, flat, flat, nothing, some)
    assert (mean == (flat + flat + flat) / 3).all()
    assert (band == 0.0).all()
    for function in (chaikin_money_flow, accumulation_slope):
        assert function(flat, flat, flat, some)[79] == 0.0
        assert math.isnan(function(flat, flat, flat, none)[79])
    assert on_balance_volume(flat, some)[79] == efficiency_ratio(flat)[79] == realised_volatility(flat, 1.0)[79] == 0.0
    assert math.isnan(on_balance_volume(flat, none)[79])
    assert math.isnan(relative_volume(opens, none, np.zeros(80, np.uint16))[79])
    assert relative_volume(opens, some, np.zeros(80, np.uint16))[79] == pytest.approx(1.0)
    assert range_position(flat, flat, flat)[79] == 0.5
    assert parkinson_volatility(flat, flat)[79] == 0.0


def test_participation():
    one = np.ones(1)
    rvol = relative_volume_of_a_slot(300.0, 150.0)
    assert participation_score(100 * one, 102 * one, 99.5 * one, 101 * one, rvol)[0] == near(0.24)
    assert participation_score(100 * one, 102 * one, 99.5 * one, 100 * one, rvol)[0] == 0.0
    assert participation_score(100 * one, 100 * one, 100 * one, 100 * one, rvol)[0] == 0.0
    assert participation_score(100 * one, 102 * one, 99.5 * one, 101 * one, 0 * one)[0] == 0.0


def relative_volume_of_a_slot(volume, mean):
    opens = np.arange(31) * DAY_NS
    volumes = np.append(np.full(30, mean), volume)
    return relative_volume(opens, volumes, np.zeros(31, np.int64))[-1:]
