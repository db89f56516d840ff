"""Bars of klines: what they do not say, minutes without one, pauses, folds, the end of a run."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, KEY, deliver, drive, klines, together

from events.frames import NO_ROWS, Frame, control
from events.rows import OHLCV
from events.schema import (
    COVERAGE,
    END,
    FLUSHED,
    FOLD_MISSING,
    FROM_OHLCV,
    GAP,
    HOLE,
    NEVER,
    NO_TRADES,
    PARTIAL,
    RECONNECT,
    SYNTHETIC,
)
from events.times import DAY_NS, MINUTE_NS
from operators.bars import Bars
from operators.chain import Either
from operators.klines import KlineBars
from operators.ordered import Ordered

T0 = 19_700 * DAY_NS
TWO = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS))


def minute(at, price, volume=1.0, quote=np.nan):
    ts_open = T0 + at * MINUTE_NS
    return (ts_open + MINUTE_NS, 0, at, ts_open, price, price + 1, price - 1, price, volume, quote, 1, 0)


def run(*minutes, end, controls=(), max_fill=60):
    rows = np.array(list(minutes), OHLCV)
    said = {"klines.1m": np.concatenate(controls)} if controls else None
    return drive(
        lambda: KlineBars(TWO, max_fill),
        ["klines.1m"],
        deliver({"klines.1m": rows}, ALL, end=T0 + end * MINUTE_NS + 1, control=said),
    )


def test_a_kline_is_a_bar_without_what_it_does_not_say():
    bars = run(minute(0, 100.0), minute(1, 102.0, 0.0), end=2)["bars.1m"]
    assert bars["flags"].tolist() == [FROM_OHLCV, FROM_OHLCV]
    assert bars[["open", "high", "low", "close", "volume"]].tolist() == [
        (100, 101, 99, 100, 1),
        (102, 103, 101, 102, 0),
    ]
    for name in ("quote_volume", "buy_volume", "sell_volume", "signed_volume", "max_trade", "vwap"):
        assert np.isnan(bars[name]).all(), name
    for name in ("n_trades", "n_buy", "n_sell", "ts_first", "ts_last"):
        assert (bars[name] == NEVER).all(), name
    assert (bars["n_missing"] == 0).all()
    assert bars["available_at"].tolist() == bars["ts_close"].tolist() == [T0 + MINUTE_NS, T0 + 2 * MINUTE_NS]


def test_the_first_bar_is_whole_even_where_coverage_began_later():
    late = control(COVERAGE, T0, T0 + 30)
    assert not (run(minute(0, 100.0), end=1, controls=[late])["bars.1m"]["flags"] & PARTIAL).any()


def test_a_bar_is_certain_only_past_its_close():
    rows = np.array([minute(0, 100.0)], OHLCV)
    core = Ordered(KlineBars(TWO, 60), ("klines.1m",))
    core.push(Frame(KEY, "klines.1m", rows, T0 + MINUTE_NS))
    assert not any(len(frame.rows) for frame in core.advance())
    core.push(Frame(KEY, "klines.1m", NO_ROWS, T0 + MINUTE_NS + 1))
    out = core.advance()
    assert [len(frame.rows) for frame in out if frame.name == "bars.1m"] == [1]
    assert {frame.name: frame.watermark for frame in out}["bars.1m"] == T0 + MINUTE_NS + 1


def test_minutes_without_a_kline_are_filled_then_a_pause_is_stated():
    out = run(minute(0, 100.0), minute(3, 105.0), minute(20, 103.0), end=30, max_fill=5)
    bars, gaps = out["bars.1m"], out["gaps"]
    empty = SYNTHETIC | FROM_OHLCV
    at = ((bars["ts_open"] - T0) // MINUTE_NS).tolist()
    assert at == [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25]
    assert bars["flags"].tolist() == [64, empty, empty, 64, *[empty] * 5, 64, *[empty] * 5]
    assert bars["close"].tolist() == [100, 100, 100, 105, *[105] * 5, 103, *[103] * 5]
    filled = bars[bars["flags"] == empty]
    assert (filled["volume"] == 0).all()
    assert (filled["n_trades"] == NEVER).all()
    assert np.isnan(filled["quote_volume"]).all()
    spans = [((g["since"] - T0) // MINUTE_NS, g["until"], g["reason"]) for g in gaps]
    assert spans == [
        (9, NEVER, NO_TRADES),
        (9, T0 + 20 * MINUTE_NS, NO_TRADES),
        (26, NEVER, NO_TRADES),
    ]


def test_as_many_missing_minutes_as_may_be_filled_are_no_pause():
    out = run(minute(0, 100.0), minute(6, 105.0), end=7, max_fill=5)
    assert len(out["bars.1m"]) == 7
    assert "gaps" not in out


def test_quote_volumes_that_the_venue_gives_stay():
    out = run(minute(0, 100.0, 2.0, 202.0), minute(1, 100.0, 0.0, 0.0), minute(3, 101.0, 1.0, 101.5), end=5)
    bars = out["bars.1m"]
    assert bars["quote_volume"].tolist() == [202.0, 0.0, 0.0, 101.5, 0.0]
    assert np.nan_to_num(bars["vwap"], nan=-1).tolist() == [101.0, -1, -1, 101.5, -1]
    (five,) = out["bars.5m"]
    assert (five["volume"], five["quote_volume"], five["vwap"]) == (3.0, 303.5, 303.5 / 3.0)


def test_folds_pass_on_what_is_not_known():
    (five,) = run(*(minute(i, 100.0 + i) for i in range(5)), end=5)["bars.5m"]
    assert five[["open", "high", "low", "close", "volume"]].item() == (100.0, 105.0, 99.0, 104.0, 5.0)
    assert (five["flags"], five["n_missing"]) == (FROM_OHLCV, 0)
    assert [five[name] for name in ("n_trades", "n_buy", "n_sell", "ts_first", "ts_last")] == [NEVER] * 5
    assert all(np.isnan(five[name]) for name in ("quote_volume", "buy_volume", "signed_volume", "vwap", "max_trade"))


def test_an_interval_that_began_within_says_what_it_lacks():
    five = run(minute(3, 100.0), *(minute(i, 100.0) for i in range(4, 10)), end=10)["bars.5m"]
    assert five["n_missing"].tolist() == [3, 0]
    assert five["flags"].tolist() == [FROM_OHLCV | FOLD_MISSING, FROM_OHLCV]


def test_minutes_within_a_stated_hole_are_not_made_up():
    hole = control(HOLE, T0 + 2 * MINUTE_NS, T0 + 2 * MINUTE_NS, T0 + 8 * MINUTE_NS, RECONNECT)
    bars = run(minute(0, 100.0), minute(1, 100.0), minute(7, 101.0), end=9, controls=[hole])["bars.1m"]
    assert ((bars["ts_open"] - T0) // MINUTE_NS).tolist() == [0, 1, 7, 8]
    assert not (bars["flags"] & GAP).any()


def test_at_the_end_the_forming_long_bars_are_flushed_and_time_after_it_makes_none():
    rows = np.array([minute(i, 100.0) for i in range(7)], OHLCV)
    last = int(rows["available_at"][-1])
    whole = [
        Frame(KEY, "klines.1m", rows, NEVER),
        Frame(KEY, "klines.1m", NO_ROWS, last + 1, control(END, last)),
        Frame(KEY, "klines.1m", NO_ROWS, last + DAY_NS),
    ]
    found = []
    for at_once in (True, False):
        core, out = Ordered(KlineBars(TWO, 60), ("klines.1m",)), []
        for frame in whole:
            core.push(frame)
            out += [] if at_once else core.advance()
        found.append(together(out + core.advance()))
    assert {name: len(rows) for name, rows in found[0].items()} == {"bars.1m": 7, "bars.5m": 1, "bars.open.5m": 1}
    assert {n: r.tobytes() for n, r in found[0].items()} == {n: r.tobytes() for n, r in found[1].items()}
    (flushed,) = found[0]["bars.open.5m"]
    assert (flushed["flags"], flushed["n_missing"], flushed["volume"]) == (FROM_OHLCV | FLUSHED, 3, 2.0)


def test_volume_is_conserved():
    rows = klines(3_000, 5, 2 * DAY_NS)
    out = drive(lambda: KlineBars(TWO, 60), ["klines.1m"], deliver({"klines.1m": rows}, 7))
    assert float(np.sum(out["bars.1m"]["volume"])) == pytest.approx(float(np.sum(rows["volume"])), rel=1e-12)
    real = out["bars.1m"][out["bars.1m"]["flags"] == FROM_OHLCV]
    assert len(real) == len(rows)
    for name in ("ts_open", "open", "high", "low", "close", "volume"):
        assert real[name].tobytes() == rows[name].tobytes(), name


def stage():
    return Either(
        {
            ("trades",): lambda: Ordered(Bars(TWO, 60), ("trades",)),
            ("klines.1m",): lambda: Ordered(KlineBars(TWO, 60), ("klines.1m",)),
        }
    )


def test_the_first_frame_decides_what_bars_are_made_of():
    either, again = stage(), stage()
    assert either.advance() == []
    again.restore(either.snapshot())
    assert again.stage is None
    rows = np.array([minute(0, 100.0)], OHLCV)
    either.push(Frame(KEY, "klines.1m", rows, T0 + 1))
    again.restore(either.snapshot())
    again.push(Frame(KEY, "klines.1m", NO_ROWS, T0 + 2 * MINUTE_NS))
    assert len(together(again.advance())["bars.1m"]) == 1
    with pytest.raises(ValueError, match="one of them"):
        again.push(Frame(KEY, "trades", NO_ROWS, T0))
