"""Time bars: the vectors of file 02, holes, pauses, coverage, the end of a run, and the invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, KEY, deliver, drive, together, trades

from events.digest import Digests
from events.frames import NO_ROWS, Frame, control
from events.rows import BAR, TRADE
from events.schema import (
    BEACON,
    COVERAGE,
    END,
    FLUSHED,
    FOLD_MISSING,
    GAP,
    HOLE,
    ID_HOLE,
    NEVER,
    NO_TRADES,
    PARTIAL,
    SYNTHETIC,
)
from events.streams import Columns
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.intake import Intake
from operators.ordered import Ordered

T0 = 1_700_001_000 * SECOND_NS
TWO = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS))


def tick(seconds, price, qty=1.0, side=1, seq=None):
    at = T0 + round(seconds * SECOND_NS)
    return (at, at, seq or 0, NEVER, price, qty, side, 0)


def rows(*ticks):
    return np.array([(*t[:2], i, *t[3:]) for i, t in enumerate(ticks)], TRADE)


def run(ticks, end_s, *controls, max_fill=60, timeframes=TWO, lateness_s=0):
    intake, bars, out = (
        Intake({"trades": round(lateness_s * SECOND_NS)}),
        Ordered(Bars(timeframes, max_fill), ("trades",)),
        [],
    )
    frames = [Frame("binance:BTC/USDT", "trades", NO_ROWS, NEVER, c) for c in controls]
    frames += [Frame("binance:BTC/USDT", "trades", ticks[i : i + 1], NEVER) for i in range(len(ticks))]
    frames.append(Frame("binance:BTC/USDT", "trades", NO_ROWS, T0 + round(end_s * SECOND_NS)))
    for frame in frames:
        intake.push(frame)
        for made in intake.advance():
            if made.name == "trades":
                bars.push(made)
                out += bars.advance()
            else:
                out.append(made)
    return together(out)


T1 = rows(
    tick(0, 100.0, 1.0), tick(10, 100.5, 2.0), tick(10, 100.4, 0.5, -1), tick(59.999999999, 100.2, 1.5, -1),
    tick(60, 100.3, 1.0), tick(61.5, 101.0, 3.0), tick(130, 100.9, 2.0, -1), tick(125, 100.8, 1.0, -1),
    tick(305, 101.2, 0.5), tick(200, 101.1, 4.0, -1),
)  # fmt: skip
COVERED = control(COVERAGE, T0, T0)


def test_tape_t1():
    out = run(T1, 400, COVERED, lateness_s=10)
    bars = out["bars.1m"]
    digest = Digests("bars.1m", Columns("bars.1m", BAR)).add_rows(bars).by_day()
    assert digest == {"2023-11-14": "550b9200d628762517e4ce605d7cb902ae7107c70360d328f014137f2df5d7e4"}
    assert bars["flags"].tolist() == [0, 0, 0, SYNTHETIC, SYNTHETIC, 0]
    assert np.nan_to_num(bars["max_trade"], nan=-1).tolist() == [201.0, 303.0, 201.8, -1, -1, 50.6]
    (five,) = out["bars.5m"]
    assert five[["open", "high", "low", "close", "volume"]].item() == (100.0, 101.0, 100.0, 100.9, 12.0)
    assert five[["quote_volume", "buy_volume", "sell_volume", "n_trades"]].item() == (1207.4, 7.0, 5.0, 8)
    assert five["vwap"] == pytest.approx(100.61666666666667, rel=1e-12)
    (letter,) = out["dead_letters"]
    assert (letter.reason, letter.raw["qty"]) == ("LATE", 4.0)


def test_bars_closed_by_an_unaudited_heartbeat_say_so():
    w0, w = T0 + 295 * SECOND_NS, T0 + 400 * SECOND_NS
    out = run(T1, 400, COVERED, control(BEACON, w0, w0, w), lateness_s=10)
    assert out["bars.1m"]["flags"].tolist() == [0, 0, 0, 1, 257, 256]
    assert out["bars.5m"]["flags"].tolist() == [256]


def test_a_trade_in_the_open_interval_makes_no_synthetic_bar_of_it():
    five = (("5m", 5 * MINUTE_NS),)
    base = 10 * 3600 - T0 // SECOND_NS % 86400
    out = run(
        rows(tick(base + 25 * 60, 100), tick(base + 30 * 60, 101), tick(base + 42 * 60 + 17, 103)),
        base + 45 * 60,
        COVERED,
        timeframes=five,
    )
    assert out["bars.5m"]["close"].tolist() == [100.0, 101.0, 101.0, 103.0]
    assert out["bars.5m"]["flags"].tolist()[1:] == [0, SYNTHETIC, 0]


def test_the_first_bar_is_partial_unless_the_stream_is_covered_from_its_open():
    ticks = rows(tick(20, 100), tick(80, 101), tick(140, 102))
    assert run(ticks, 180)["bars.1m"]["flags"].tolist() == [PARTIAL, 0, 0]
    assert run(ticks, 180, COVERED)["bars.1m"]["flags"].tolist() == [0, 0, 0]
    late = control(COVERAGE, T0, T0 + 61 * SECOND_NS)
    assert run(ticks, 180, late)["bars.1m"]["flags"].tolist() == [PARTIAL, PARTIAL, 0]


def test_silence_is_filled_for_a_while_then_stated():
    out = run(rows(tick(0, 100), tick(60 * 60, 105)), 62 * 60, COVERED, max_fill=5)
    bars, gaps = out["bars.1m"], out["gaps"]
    assert len(bars) == 1 + 5 + 2
    assert bars["g"].tolist()[-3:] == [bars["g"][0] + 5, bars["g"][0] + 60, bars["g"][0] + 61]
    assert gaps["since"].tolist() == [T0 + 6 * MINUTE_NS] * 2
    assert gaps["until"].tolist() == [NEVER, T0 + 60 * MINUTE_NS]
    assert gaps["reason"].tolist() == [NO_TRADES] * 2


def test_a_bad_stamp_far_ahead_costs_no_memory():
    out = run(rows(tick(0, 100), tick(100 * 365 * 86_400, 101)), 101 * 365 * 86_400, COVERED)
    assert len(out["bars.1m"]) == 2 + 2 * 60
    assert len(out["bars.5m"]) < 40


def test_a_hole_marks_the_bars_it_touches_and_invents_none_between():
    ticks = rows(tick(10, 100), tick(70, 101), tick(400, 104), tick(470, 105))
    hole = control(HOLE, T0 + 70 * SECOND_NS, T0 + 70 * SECOND_NS, T0 + 400 * SECOND_NS, ID_HOLE, 3, 9)
    out = run(ticks, 480, COVERED, hole)
    bars = out["bars.1m"]
    assert ((bars["ts_open"] - T0) // MINUTE_NS).tolist() == [0, 1, 6, 7]
    assert bars["flags"].tolist() == [0, GAP, GAP, 0]
    assert out["bars.5m"]["flags"].tolist() == [GAP | FOLD_MISSING]
    assert out["bars.5m"]["n_missing"].tolist() == [3]


def test_a_hole_over_one_boundary_marks_both_bars():
    ticks = rows(tick(10, 100), tick(70, 101), tick(130, 102), tick(190, 103), tick(250, 104))
    hole = control(HOLE, T0 + 70 * SECOND_NS, T0 + 70 * SECOND_NS, T0 + 130 * SECOND_NS, ID_HOLE, 3, 9)
    assert run(ticks, 300, COVERED, hole)["bars.1m"]["flags"].tolist() == [0, GAP, GAP, 0, 0]


def test_the_end_of_a_run_flushes_open_bars_to_a_stream_of_their_own():
    ticks = rows(tick(0, 100), tick(50, 101, 2.0), tick(70, 102, 3.0))
    last = int(ticks["available_at"][-1])
    stage = Ordered(Bars(TWO, 60), ("trades",))
    stage.push(Frame(KEY, "trades", ticks, last + 1, control(END, last)))
    out = together(stage.advance())
    stage.push(Frame(KEY, "trades", NO_ROWS, last + DAY_NS))
    assert [f.watermark > last for f in stage.advance() if f.name == "bars.1m"] == [True]
    assert out["bars.1m"]["volume"].tolist() == [3.0]
    assert out["bars.open.1m"][["volume", "flags"]].item() == (3.0, FLUSHED)
    assert out["bars.open.5m"][["volume", "n_missing"]].item() == (3.0, 4)
    assert out["bars.open.5m"]["flags"][0] & FLUSHED


MARKET = st.builds(
    lambda n, seed, spacing, gap: trades(n, seed, spacing * SECOND_NS, gap * MINUTE_NS),
    st.integers(1, 400), st.integers(0, 10_000), st.sampled_from([1, 8, 200]), st.sampled_from([0, 3, 300]),
)  # fmt: skip


def build(ticks, timeframes=TWO, max_fill=60):
    return drive(lambda: Bars(timeframes, max_fill), ("trades",), deliver({"trades": ticks}, ALL))


@given(MARKET)
def test_invariants(ticks):
    out = build(ticks)
    for name in ("bars.1m", "bars.5m"):
        bars = out.get(name, np.zeros(0, BAR))
        traded = bars[bars["volume"] > 0]
        assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
        assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
        assert (traded["vwap"] >= traded["low"] * (1 - 1e-12)).all()
        assert (traded["vwap"] <= traded["high"] * (1 + 1e-12)).all()
        assert np.allclose(bars["buy_volume"] + bars["sell_volume"], bars["volume"], rtol=1e-12)
        assert (bars["n_buy"] + bars["n_sell"] == bars["n_trades"]).all()
        assert (np.diff(bars["ts_close"]) > 0).all()
        assert (bars["ts_open"] == bars["g"] * (bars["ts_close"] - bars["ts_open"])).all()
        assert len(bars) <= (1 + 60) * len(ticks)
        assert ((bars["n_trades"] == 0) == (bars["flags"] & SYNTHETIC > 0)).all()
    assert np.sum(out["bars.1m"]["volume"]) == pytest.approx(float(np.sum(ticks["qty"])), rel=1e-9)


@given(MARKET)
def test_a_fold_is_the_bar_made_of_the_trades_themselves(ticks):
    folded = build(ticks).get("bars.5m", np.zeros(0, BAR))
    direct = build(ticks, (("5m", 5 * MINUTE_NS),)).get("bars.5m", np.zeros(0, BAR))
    twice = build(ticks, (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS), ("30m", 30 * MINUTE_NS))).get(
        "bars.30m", np.zeros(0, BAR)
    )
    direct30 = build(ticks, (("30m", 30 * MINUTE_NS),)).get("bars.30m", np.zeros(0, BAR))
    for made, fresh in ((folded, direct), (twice, direct30)):
        ours = made[made["n_trades"] > 0]
        theirs = fresh[np.isin(fresh["g"], ours["g"])]
        for column in ("g", "open", "high", "low", "close", "n_trades", "n_buy", "n_sell", "ts_first", "ts_last"):
            assert np.array_equal(ours[column], theirs[column]), column
        for column in ("volume", "quote_volume", "buy_volume", "sell_volume", "vwap"):
            assert np.allclose(ours[column], theirs[column], rtol=1e-12), column


@given(MARKET, st.integers(-8, 8))
def test_a_power_of_two_in_the_price_scales_prices_and_nothing_else(ticks, power):
    scaled = ticks.copy()
    scaled["price"] *= 2.0**power
    a, b = build(ticks), build(scaled)
    prices = {"open", "high", "low", "close", "vwap", "quote_volume", "max_trade"}
    for column in BAR.names:
        factor = 2.0**power if column in prices else 1
        assert np.array_equal(a["bars.1m"][column] * factor, b["bars.1m"][column], equal_nan=column in prices), column


def test_parents_are_runs_of_one_side_at_one_time():
    ticks = rows(tick(1, 10, 1), tick(1, 11, 1), tick(1, 11, 5, -1), tick(1, 10, 1), tick(2, 10, 3), tick(2, 10, 4))
    assert run(ticks, 60, COVERED)["bars.1m"]["max_trade"].tolist() == [70.0]


def test_time_that_passes_after_the_end_makes_no_bar_however_frames_arrive():
    ticks, last = rows(tick(0, 100), tick(70, 101)), T0 + 70 * SECOND_NS
    frames = [
        Frame(KEY, "trades", ticks, last),
        Frame(KEY, "trades", NO_ROWS, last + 1, control(END, last)),
        Frame(KEY, "trades", NO_ROWS, last + DAY_NS),
    ]
    found = []
    for at_once in (True, False):
        stage, out = Ordered(Bars(TWO, 60), ("trades",)), []
        for frame in frames:
            stage.push(frame)
            out += [] if at_once else stage.advance()
        found.append(together(out + stage.advance()))
    assert {name: len(made) for name, made in found[0].items()} == {"bars.1m": 1, "bars.open.1m": 1, "bars.open.5m": 1}
    assert {n: made.tobytes() for n, made in found[0].items()} == {n: made.tobytes() for n, made in found[1].items()}
