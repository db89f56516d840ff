"""Indicators by steps: the values of their function over the anchored history, however the bars come."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lab import ALL, deliver, drive
from test_wide import market

from events.schema import COLD, CONVERGED, MISSING, SETTLED, WARMING
from events.times import MINUTE_NS
from operators.analysis import Analysis
from operators.declare import declaration_of, indicator
from operators.history import Features

LENGTH, HISTORY = 10, 256


def step(state, bar, length=LENGTH, bad_g=-1):
    """An exponential mean of the close, seeded with the first one, from `length` bars on."""
    mean, seen = state or (bar.close, 0)
    mean += (bar.close - mean) * 2 / (length + 1)
    if bar.g == bad_g:
        raise ArithmeticError("a bar it cannot bear")
    return (mean, seen + 1), mean if seen + 1 >= length else math.nan


@indicator(columns=("mean",), lookback=9, stable=100, history=HISTORY, step=step)
def mean(close, length=LENGTH, bad_g=-1):
    out, value = np.full(len(close), np.nan), close[0] if len(close) else 0.0
    for t in range(len(close)):
        value += (close[t] - value) * 2 / (length + 1)
        if t + 1 >= length:
            out[t] = value
    return out


def features(rows, chunk=ALL, restart=0.0, **parameters):
    analysis = Analysis((declaration_of(mean).made(parameters),), ())
    streams = {"bars.x": rows}
    frames = deliver(streams, chunk, end=int(rows["ts_close"][-1]) // MINUTE_NS * MINUTE_NS + 9_000 * MINUTE_NS)
    return drive(lambda: Features("x", MINUTE_NS, analysis), streams, frames, restart)


def test_the_values_are_those_of_the_function_over_the_anchored_history():
    rows = market(MINUTE_NS, 2_000)
    whole = features(rows)["features.x"]
    for i in range(0, len(rows), 37):
        since = int(np.searchsorted(rows["g"], (rows["g"][i] // HISTORY - 1) * HISTORY))
        assert np.array_equal(whole["values"][i, 0], mean(rows["close"][since : i + 1])[-1], equal_nan=True)
    assert np.isfinite(whole["values"]).sum() > 900


@pytest.mark.parametrize(("chunk", "restart"), [(1, 0.05), (7, 0.0), (300, 0.3)])
def test_any_split_and_any_restart(chunk, restart):
    rows = market(MINUTE_NS, 1_500)
    assert features(rows, chunk, restart)["features.x"].tobytes() == features(rows)["features.x"].tobytes()


def test_two_starts_agree_where_both_are_settled():
    rows = market(MINUTE_NS, 4_200)
    rows = rows[rows["g"] < rows["g"][0] + 2_000]
    a, b = features(rows)["features.x"][413:], features(rows[413:], 50)["features.x"]
    both = (a["status"] == SETTLED) & (b["status"] == SETTLED)
    assert both.sum() > 500
    assert (a["values"] == b["values"])[both].all()
    assert set(np.unique(features(rows)["features.x"]["status"]).tolist()) == {SETTLED, CONVERGED, WARMING, COLD}


@pytest.mark.parametrize("chunk", [1, 40, ALL])
def test_a_step_that_raises_costs_the_values_of_its_bar(chunk):
    rows = market(MINUTE_NS, 600)
    bad = int(rows["g"][200])
    out = features(rows, chunk, bad_g=bad)
    row = out["features.x"]
    assert np.flatnonzero(row["status"][:, 0] == MISSING).tolist() == [200]
    (letter,) = out["dead_letters"]
    assert letter.detail == f"mean failed at bar {bad}: ArithmeticError: a bar it cannot bear"
    assert (row["values"][:200] == features(rows)["features.x"]["values"][:200])[LENGTH:].all()


def test_a_step_takes_bars_alone():
    with pytest.raises(ValueError, match="bar columns alone"):
        indicator(inputs=("rsi_14",), step=step)(lambda rsi: rsi)
