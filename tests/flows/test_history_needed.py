"""Required history: with so many bars every column is settled, wherever in their blocks they lie; with one less it is not."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, deliver, drive

from config import load
from events.rows import BAR
from events.schema import COLD, CONVERGED, WARMING
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, timeframe_ns
from flows.history_needed import needed, required_bars
from flows.plan import Plan
from operators.analysis import Analysis
from operators.declare import declaration_of, indicator
from operators.history import Features
from operators.indicators import BUILTIN

pytestmark = pytest.mark.slow

FIRST = 19_675 * DAY_NS
LENGTHS = {name: timeframe_ns(name) for name in ("1m", "5m", "30m", "4h", "1d")}


def bars_until(g, n, length):
    """`n` consecutive bars with trades up to index `g`; the same prices for an index, however many are taken."""
    every = np.arange(g - n + 1, g + 1)
    out = np.zeros(n, BAR)
    out["g"], out["ts_open"], out["ts_close"] = every, every * length, (every + 1) * length
    out["available_at"] = out["ts_close"]
    at = np.sin(every / 17.0) + np.sin(every / 5.0 + 1.0) + 0.3 * np.cos(every * 12.9898)
    out["open"], out["close"] = 100 + np.roll(at, 1), 100 + at
    out["high"], out["low"] = np.maximum(out["open"], out["close"]) + 0.1, np.minimum(out["open"], out["close"]) - 0.2
    out["volume"], out["vwap"] = 10 + 5 * np.cos(every * 78.233), 100 + at
    return out


def last_row(analysis, name, length, g, n):
    """The columns at bar `g`, in a run that has seen `n` bars up to it."""
    rows = bars_until(g, n, length)
    streams = {f"bars.{name}": rows}
    frames = deliver(streams, ALL, end=int(rows["ts_close"][-1]) + DAY_NS)
    row = drive(lambda: Features(name, length, analysis), streams, frames)[f"features.{name}"][-1]
    assert row["g"] == g
    return row


def unsettled(analysis, name, length, g, n):
    """The columns that are not settled then; one that has nothing to say of a bar is missing or silent, however long the run."""
    status = last_row(analysis, name, length, g, n)["status"]
    return {column for column, mark in zip(analysis.columns, status) if mark in (CONVERGED, WARMING, COLD)}


def composed():
    calls = [{"fn": "EMA", "timeperiod": 200}, {"fn": "SMA", "timeperiod": 20, "timeframes": ["4h"]}]
    return Plan(load(None, {"indicators": {"talib": calls, "builtin": ["rv_60", "park_60", "structure", "sweep"]}}))


@pytest.mark.parametrize("plan", [Plan(load()), composed()], ids=["default", "more"])
@pytest.mark.parametrize("name", LENGTHS)
def test_exactly_so_many_bars_settle_every_column_wherever_they_lie(plan, name):
    length, analysis = LENGTHS[name], plan.analysis
    worst, first = needed(analysis, name, length), FIRST // length
    histories = {i.history for i in analysis.indicators}
    places = {first // h * h + after for h in histories for after in (h - 1, h, h + h // 3)}
    needs = {g: needed(analysis, name, length, g) for g in places}
    for g, need in needs.items():
        assert need.bars <= worst.bars
        assert not unsettled(analysis, name, length, g, need.bars), g
        assert need.column in unsettled(analysis, name, length, g, need.bars - 1), g
        longest = last_row(analysis, name, length, g, worst.bars + 777)
        assert last_row(analysis, name, length, g, need.bars).tobytes() == longest.tobytes(), g


@pytest.mark.parametrize("name", LENGTHS)
def test_the_worst_is_reached_and_nowhere_exceeded(name):
    length, analysis = LENGTHS[name], composed().analysis
    worst, first = needed(analysis, name, length), FIRST // length
    each = [needed(analysis, name, length, first + after).bars for after in range(8192)]
    assert max(each) == worst.bars
    g = first + each.index(worst.bars)
    assert worst.column in unsettled(analysis, name, length, g, worst.bars - 1)


def counted(state, bar):
    return (state or 0) + 1, bar.close


@indicator(step=counted, history=1024)
def slow(close):
    return close


@indicator
def after(slow):
    return slow


def test_steps_need_two_histories_and_what_takes_them_one_more():
    steps, taking = (declaration_of(function).made({}) for function in (slow, after))
    analysis = Analysis((steps, taking), ())
    need, g = needed(analysis, "1m", MINUTE_NS), FIRST // MINUTE_NS // 1024 * 1024 + 1023
    assert need == (2 * 1024 + 64, "after")
    assert needed(Analysis((steps,), ()), "1m", MINUTE_NS) == (2 * 1024, "slow")
    worst = next(at for at in range(g - 1023, g + 1) if needed(analysis, "1m", MINUTE_NS, at) == need)
    assert not unsettled(analysis, "1m", MINUTE_NS, worst, need.bars)
    assert unsettled(analysis, "1m", MINUTE_NS, worst, need.bars - 1) == {"after"}


def test_lengths_add_along_a_path_and_the_longest_counts_twice():
    def of(*names):
        made = [i for i in Plan(load()).analysis.indicators if i.columns[0] in names]
        return needed(Analysis(tuple(made), ()), "1m", MINUTE_NS)

    assert of("natr_14") == (2 * 512, "natr_14")
    assert of("natr_14", "atr_pctl") == (2 * 512 + 512, "atr_pctl")
    assert of("adl_20", "adl_z") == (2 * 512 + 64, "adl_z")
    assert of("vwap_d") == (DAY_NS // MINUTE_NS, "vwap_d")
    assert needed(Analysis((BUILTIN["rv_60"],), ()), "4h", 4 * HOUR_NS) == (61, "rv_60")


def test_a_timeframe_that_lacks_a_column_does_not_wait_for_it():
    slow = [{"fn": "EMA", "timeperiod": 2000, "timeframes": ["1m"]}]
    given = {"indicators": {"talib": slow}}
    need = required_bars(Plan(load(None, given)))
    assert need["1m"] == (2 * 32_768, "ema_2000")
    assert need["4h"] == required_bars(Plan(load()))["4h"]


def test_at_a_time_the_newest_bars_are_those_that_closed_before_it():
    plan = Plan(load())
    at = FIRST + 7 * HOUR_NS + 1
    for name, need in required_bars(plan, at).items():
        g = at // timeframe_ns(name) - 1
        assert not unsettled(plan.analysis, name, timeframe_ns(name), g, need.bars)
        assert unsettled(plan.analysis, name, timeframe_ns(name), g, need.bars - 1)
