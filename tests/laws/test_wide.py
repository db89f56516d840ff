"""Memories wider than the bars of a history: the bits of their function over all bars, however these come."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, deliver, drive

from events.rows import BAR
from events.schema import COLD, MISSING, NEVER, SETTLED, SYNTHETIC, WARMING
from events.times import DAY_NS, HOUR_NS, MINUTE_NS
from operators.analysis import Analysis
from operators.history import Features
from operators.indicators import BUILTIN
from operators.indicators.volatility import realised_volatility
from operators.indicators.volume import day_vwap, relative_volume

WIDE = sorted(name for name, indicator in BUILTIN.items() if indicator.wide is not None)
FIRST_NS = 19_675 * DAY_NS


def market(timeframe_ns, n, seed=1, offset=0):
    """Bars from shortly after midnight on: some without trades, some not there at all, a pause of two days."""
    r = np.random.default_rng(seed)
    g = FIRST_NS // timeframe_ns + offset + np.arange(n)
    kept = r.random(n) > 0.03
    kept[n // 2 : n // 2 + 2 * DAY_NS // timeframe_ns] = False
    out = np.zeros(n, BAR)
    out["g"], out["ts_open"], out["ts_close"] = g, g * timeframe_ns, (g + 1) * timeframe_ns
    out["available_at"] = out["ts_close"]
    close = 100 * np.exp(np.cumsum(r.normal(0, 2e-3, n)))
    out["open"], out["close"] = np.append(100.0, close[:-1]), close
    out["high"], out["low"] = np.maximum(out["open"], close) * 1.001, np.minimum(out["open"], close) * 0.999
    out["volume"] = r.exponential(10, n) * (r.random(n) > 0.1)
    out["vwap"] = np.where(out["volume"] > 0, (out["high"] + out["low"]) / 2, np.nan)
    out["flags"] = np.where(out["volume"] == 0, SYNTHETIC, 0)
    return out[kept]


def over_all(name, rows, timeframe_ns):
    """The columns by their definition, over all bars at once."""
    columns = {field: rows[field].copy() for field in BAR.names}
    if name == "rvol":
        return [relative_volume(columns["ts_open"], columns["volume"], columns["flags"])]
    if name == "rv_60":
        return [realised_volatility(columns["close"], timeframe_ns / MINUTE_NS)]
    prices = [columns[field] for field in ("high", "low", "close", "vwap", "volume")]
    return list(day_vwap(columns["ts_open"], *prices))


def features(name, timeframe_ns, rows, chunk=ALL, restart=0.0):
    streams, analysis = {"bars.x": rows}, Analysis((BUILTIN[name],), ())
    end = (int(rows["ts_close"][-1]) // DAY_NS + 9) * DAY_NS
    frames = deliver(streams, chunk, end=end)
    return drive(lambda: Features("x", timeframe_ns, analysis), streams, frames, restart)["features.x"]


@pytest.mark.parametrize("timeframe_ns", [5 * MINUTE_NS, 4 * HOUR_NS, DAY_NS, 2 * DAY_NS])
@pytest.mark.parametrize("name", WIDE)
def test_any_split_and_any_restart_give_the_bits_of_the_function_over_all_bars(name, timeframe_ns):
    rows = market(timeframe_ns, 3_000 if timeframe_ns < HOUR_NS else 500)
    whole = features(name, timeframe_ns, rows)
    for chunk, restart in ((1, 0.02), (7, 0.0), (501, 0.3)):
        assert features(name, timeframe_ns, rows, chunk, restart).tobytes() == whole.tobytes()
    for k, column in enumerate(over_all(name, rows, timeframe_ns)):
        assert np.array_equal(whole["values"][:, k], column, equal_nan=True)
        assert np.isfinite(column).sum() > 200


@pytest.mark.parametrize("name", WIDE)
def test_a_prefix_of_the_bars_gives_a_prefix_of_the_values(name):
    rows = market(5 * MINUTE_NS, 2_500)
    whole = features(name, 5 * MINUTE_NS, rows)
    for n in (1, 31, 290, 1_777):
        assert features(name, 5 * MINUTE_NS, rows[:n], 100).tobytes() == whole[:n].tobytes()


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("late", [1, 100, 288, 700])
def test_two_starts_agree_where_both_are_settled(name, late):
    rows = market(5 * MINUTE_NS, 9 * 288 + 700)
    whole, part = features(name, 5 * MINUTE_NS, rows)[late:], features(name, 5 * MINUTE_NS, rows[late:], 99)
    both = (whole["status"] == SETTLED) & (part["status"] == SETTLED)
    assert both.sum() > 400
    assert (whole["values"] == part["values"])[both].all()
    if late % 288 and (part["status"] == WARMING).any():
        assert (whole["values"] != part["values"])[part["status"] == WARMING].any()


def test_statuses_say_what_was_seen():
    rows = market(5 * MINUTE_NS, 9 * 288, offset=12)
    status = features("rvol", 5 * MINUTE_NS, rows)["status"][:, 0]
    since = rows["ts_open"] - rows["ts_open"][0]
    assert (status[:30] == COLD).all()
    assert set(status[(since < 7 * DAY_NS)][30:].tolist()) <= {WARMING, MISSING}
    assert set(status[since >= 7 * DAY_NS].tolist()) <= {SETTLED, MISSING}
    status = features("vwap", 5 * MINUTE_NS, rows)["status"][:, 0]
    first_day = rows["ts_open"] // DAY_NS == FIRST_NS // DAY_NS
    assert set(status[first_day].tolist()) <= {WARMING, MISSING}
    assert set(status[~first_day].tolist()) <= {SETTLED, MISSING}


def test_a_stamp_far_ahead_costs_neither_memory_nor_time():
    rows = market(MINUTE_NS, 200)
    far = rows[-1:].copy()
    far["g"] += 10**9
    for field in ("ts_open", "ts_close", "available_at"):
        far[field] = far["g"] * MINUTE_NS + (field != "ts_open") * MINUTE_NS
    both = np.concatenate([rows, far])
    assert int(far["g"][0]) != NEVER
    for name in WIDE:
        got = features(name, MINUTE_NS, both)
        for k, column in enumerate(over_all(name, both, MINUTE_NS)):
            assert np.array_equal(got["values"][:, k], column, equal_nan=True)
