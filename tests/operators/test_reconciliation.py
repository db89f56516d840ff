"""Bars against the venue's klines: what is a difference, what is not compared, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from events.frames import Frame, control
from events.rows import BAR, OHLCV
from events.schema import END, FROM_OHLCV, GAP, PARTIAL, SYNTHETIC, UNVERIFIED
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from operators.ordered import Ordered
from operators.reconcile import Reconciliation

KEY = "x:A/B"
T = 1_700_006_400 * SECOND_NS  # on an hour


def bar(minute, flags=0, *, open=10.0, high=11.0, low=9.0, close=10.5, volume=100.0):
    row = np.zeros(1, BAR)
    row["ts_open"], row["flags"] = T + minute * MINUTE_NS, flags
    row["ts_close"] = row["available_at"] = row["ts_open"] + MINUTE_NS
    row["open"], row["high"], row["low"], row["close"], row["volume"] = open, high, low, close, volume
    return row


def kline(minute, late_ns=0, *, open=10.0, high=11.0, low=9.0, close=10.5, volume=100.0):
    at = T + minute * MINUTE_NS
    held = (at + MINUTE_NS + late_ns, 0, minute, at, open, high, low, close, volume, np.nan, 1, 0)
    return np.array([held], OHLCV)


def run(bars, klines, tick=None, until=T + 2 * DAY_NS, end=None):
    core = Ordered(Reconciliation(() if tick is None else ((KEY, tick),)), ("check.1m", "bars.1m"))
    none = np.empty(0, OHLCV)
    core.push(Frame(KEY, "bars.1m", np.concatenate(bars) if bars else np.empty(0, BAR), until))
    said = () if end is None else (control(END, end),)
    core.push(Frame(KEY, "check.1m", np.concatenate([none, *klines]), until, *said))
    out = {"reconcile": (), "reconcile_counts": ()}
    for frame in core.advance():
        out[frame.name] += frame.rows
    return out["reconcile"], out["reconcile_counts"]


def counts(*given, **options):
    """(equal, different, flagged, alone) in all."""
    told = run(*given, **options)[1]
    return tuple(sum(getattr(one, name) for one in told) for name in ("equal", "different", "flagged", "alone"))


def test_a_difference_names_the_field_and_both_values():
    found, told = run([bar(0), bar(1)], [kline(0, high=11.5, volume=101.0), kline(1)], tick=0.5)
    assert [(one.field, one.ours, one.venue, one.difference) for one in found] == [("volume", 100.0, 101.0, -1.0)]
    assert (found[0].key, found[0].tf, found[0].ts_open, found[0].ts) == (KEY, "1m", T, T + MINUTE_NS)
    assert [one.ts for one in told] == [T + HOUR_NS]
    assert counts([bar(0), bar(1)], [kline(0, high=11.5, volume=101.0), kline(1)], tick=0.5) == (1, 1, 0, 0)


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_prices_may_be_off_by_one_tick(field):
    theirs = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5}
    for ticks, equal in ((1, 1), (-1, 1), (2, 0), (-2, 0)):
        given = [bar(0)], [kline(0, **{field: theirs[field] + ticks * 0.01})]
        assert counts(*given, tick=0.01) == (equal, 1 - equal, 0, 0)
        assert counts(*given) == (0, 1, 0, 0), "1e-8, where the settings say no tick"


def test_volumes_may_be_off_by_a_thousandth_of_the_venues():
    assert counts([bar(0, volume=100.0)], [kline(0, volume=100.09)]) == (1, 0, 0, 0)
    assert counts([bar(0, volume=100.0)], [kline(0, volume=99.91)]) == (1, 0, 0, 0)
    assert counts([bar(0, volume=100.0)], [kline(0, volume=100.11)]) == (0, 1, 0, 0)
    assert counts([bar(0, volume=100.0)], [kline(0, volume=0.0)]) == (0, 1, 0, 0)


@pytest.mark.parametrize("flag", [PARTIAL, GAP, FROM_OHLCV, PARTIAL | GAP])
def test_bars_that_are_not_whole_are_counted_apart(flag):
    assert counts([bar(0, flag)], [kline(0, volume=7.0)]) == (0, 0, 1, 0)
    assert counts([bar(0, UNVERIFIED)], [kline(0, volume=7.0)]) == (0, 1, 0, 0)


def test_quiet_minutes():
    quiet = bar(0, SYNTHETIC, open=10.0, high=10.0, low=10.0, close=10.0, volume=0.0)
    assert counts([quiet], []) == (0, 0, 0, 0), "the venue has no kline of them"
    assert counts([quiet], [kline(0, volume=0.0)]) == (1, 0, 0, 0)
    found, _ = run([quiet], [kline(0, volume=3.0)])
    assert {one.field for one in found} == {"high", "low", "close", "volume"}, "there were trades, and we have none"


def test_bars_without_klines_and_klines_without_bars():
    assert counts([bar(0), bar(2)], [kline(1), kline(2)]) == (1, 0, 0, 0), (
        "the first kline is of a time before the bars"
    )
    assert counts([], [kline(1)]) == (0, 0, 0, 0)
    assert counts([bar(0), bar(2), bar(5)], [kline(m) for m in range(9)]) == (3, 0, 0, 3), "not those behind all bars"
    hours = counts([bar(0), bar(200)], [kline(m) for m in range(300)])
    assert hours == (2, 0, 0, 199)


def test_a_kline_may_be_stated_late_but_not_by_more_than_a_day():
    assert counts([bar(0)], [kline(0, late_ns=DAY_NS, volume=7.0)]) == (0, 1, 0, 0)
    assert counts([bar(0)], [kline(0, late_ns=DAY_NS + 1, volume=7.0)]) == (0, 0, 0, 0)


def test_counts_are_told_by_the_hour_and_at_the_end():
    bars, klines = [bar(m) for m in range(150)], [kline(m) for m in range(150)]
    told = run(bars, klines, until=T + 150 * MINUTE_NS + 1)[1]
    assert [(one.ts, one.equal) for one in told] == [(T + HOUR_NS, 60), (T + 2 * HOUR_NS, 60)]
    end = T + 150 * MINUTE_NS
    told = run(bars, klines, until=end + 1, end=end)[1]
    assert [(one.ts, one.equal) for one in told] == [(T + HOUR_NS, 60), (T + 2 * HOUR_NS, 60), (end, 30)]
    told = run(bars[:120], klines[:120], until=T + 2 * HOUR_NS + 1, end=T + 2 * HOUR_NS)[1]
    assert [(one.ts, one.equal) for one in told] == [(T + HOUR_NS, 60), (T + 2 * HOUR_NS, 60)]


def test_only_a_day_of_bars_is_kept():
    core = Reconciliation()
    core.instrument = KEY
    bars = np.concatenate([bar(m) for m in range(3 * 1_440)])
    list(core.advance(T + 3 * DAY_NS, {"bars.1m": bars}, {}))
    assert len(core.bars) == 1_440 + 1
    assert len(core.snapshot()[0]) < 100_000
