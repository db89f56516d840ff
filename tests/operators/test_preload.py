"""Bars that go on from history: what comes of klines, what of trades, and nothing twice or missing where they meet."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, KEY, deliver, drive, trades

from events.frames import NO_ROWS, Frame, control
from events.rows import OHLCV
from events.schema import COVERAGE, FROM_OHLCV, NEVER, PARTIAL, SYNTHETIC
from events.times import MINUTE_NS
from operators.bars import Bars
from operators.chain import Chain
from operators.intake import Intake
from operators.ordered import Ordered
from operators.preload import PreloadedBars

TIMEFRAMES = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS), ("30m", 30 * MINUTE_NS))
FOREVER = 2**63 - 1
MARKET = trades(20_000, 5)
FIRST = int(MARKET["available_at"][0]) // (30 * MINUTE_NS) * (30 * MINUTE_NS) + 30 * MINUTE_NS
OHLC = ["ts_open", "open", "high", "low", "close"]


def whole():
    """The bars of all trades."""
    return drive(lambda: Bars(TIMEFRAMES, 60), ["trades"], deliver({"trades": MARKET}, ALL))


def klines_of(bars, until):
    """What a venue says of these bars: those without trades left out, and of what came after `until` some more."""
    rows = []
    for name, _ in TIMEFRAMES:
        for bar in bars[f"bars.{name}"]:
            if bar["ts_open"] >= FIRST and bar["ts_close"] <= until and not bar["flags"] & SYNTHETIC:
                prices = bar[["open", "high", "low", "close", "volume"]].item()
                rows.append((bar["ts_close"], 0, 0, bar["ts_open"], *prices, np.nan, 1, 0))
    out = np.array(rows, OHLCV)
    out = out[np.lexsort((out["ts_open"], out["available_at"]))]
    out["seq"] = np.arange(len(out))
    return out


def preload(rows, until, since=NEVER):
    return Frame(KEY, "preload", rows, FOREVER, control(COVERAGE, NEVER, since, until))


def live(until, since, more=0):
    """Frames of a live run that began at `since`, with history until `until`."""
    seen = MARKET[MARKET["available_at"] >= since]
    return [
        preload(klines_of(whole(), until + more), until, since),
        Frame(KEY, "trades", NO_ROWS, NEVER, control(COVERAGE, since, since)),
        *deliver({"trades": seen}, 501),
    ]


def made(frames, restart=0.0, seed=1):
    return drive(lambda: PreloadedBars(TIMEFRAMES, 60), ["trades", "preload"], frames, restart, seed)


@pytest.mark.parametrize("minutes", [300, 302, 319, 330])
def test_prices_are_those_of_a_run_that_saw_all_trades(minutes):
    until = FIRST + minutes * MINUTE_NS
    out, expected = made(live(until, until)), whole()
    for name, length in TIMEFRAMES:
        bars, reference = out[f"bars.{name}"], expected[f"bars.{name}"]
        reference = reference[reference["ts_open"] >= FIRST]
        reference = reference[reference["ts_open"] >= bars["ts_open"][0]]
        assert bars["ts_open"][0] - FIRST < 2 * length
        assert bars[OHLC].tolist() == reference[OHLC].tolist(), name
        np.testing.assert_allclose(bars["volume"], reference["volume"], rtol=1e-12)
        assert bars["n_missing"].tolist() == reference["n_missing"].tolist()
        of_klines = bars["ts_open"] < until
        assert ((bars["flags"] & FROM_OHLCV != 0) == of_klines).all(), name
        assert not (bars["flags"] & PARTIAL).any()
        after = bars["ts_open"] >= until
        assert bars[after].tobytes() == reference[after].tobytes(), name


def test_nothing_of_it_hangs_on_delivery():
    until = FIRST + 303 * MINUTE_NS
    frames = live(until, until + MINUTE_NS // 3)
    expected = made(frames)
    assert (expected["bars.1m"]["flags"] & PARTIAL)[expected["bars.1m"]["ts_open"] == until].all()
    for seed in range(10):
        r = np.random.default_rng(seed)
        first, rest = frames[:1], frames[1:]
        at = int(r.integers(0, len(rest)))
        out = made([*rest[:at], *first, *rest[at:]], 0.4, seed)
        assert {n: rows.tobytes() for n, rows in out.items()} == {n: rows.tobytes() for n, rows in expected.items()}


def test_a_bar_of_trades_wins_over_a_kline():
    until = FIRST + 303 * MINUTE_NS
    assert (
        made(live(until, until, more=40 * MINUTE_NS))["bars.1m"].tobytes()
        == made(live(until, until))["bars.1m"].tobytes()
    )
    early = made(live(until, until - 2 * MINUTE_NS))["bars.1m"]
    late = early[early["ts_open"] >= until - 2 * MINUTE_NS]
    assert not (late["flags"] & FROM_OHLCV).any()
    assert not (early[early["ts_open"] < until - 2 * MINUTE_NS]["flags"] & FROM_OHLCV == 0).any()


def test_a_kline_is_certain_only_when_trades_have_passed_its_close():
    until = FIRST + 303 * MINUTE_NS
    stage = Ordered(PreloadedBars(TIMEFRAMES, 60), ("trades", "preload"))
    stage.push(preload(klines_of(whole(), until), until))
    stage.push(Frame(KEY, "trades", NO_ROWS, until))
    out = {frame.name: frame for frame in stage.advance()}
    assert out["bars.1m"].rows["ts_close"][-1] == until - MINUTE_NS
    assert out["bars.1m"].watermark == until - MINUTE_NS + 1
    stage.push(Frame(KEY, "trades", NO_ROWS, until + 1))
    out = {frame.name: frame for frame in stage.advance()}
    assert out["bars.1m"].rows["ts_close"].tolist() == [until]
    assert out["bars.1m"].watermark == until + 1
    assert "bars.5m" not in out


def test_a_quiet_market_goes_on_from_the_last_close():
    until = FIRST + 303 * MINUTE_NS
    frames = [preload(klines_of(whole(), until), until), Frame(KEY, "trades", NO_ROWS, until + 3 * MINUTE_NS)]
    bars = made(frames)["bars.1m"]
    assert (bars["flags"][-3:] == SYNTHETIC | PARTIAL).tolist() == [False] * 3
    assert (bars["flags"][-3:] == SYNTHETIC).all()
    assert (bars["close"][-3:] == bars["close"][-4]).all()


def test_without_history_it_is_as_without_a_preload():
    frames = deliver({"trades": MARKET}, 501)
    empty = preload(np.empty(0, OHLCV), FIRST)
    assert {n: r.tobytes() for n, r in made([empty, *frames]).items()} == {n: r.tobytes() for n, r in whole().items()}


def test_the_intake_refuses_what_a_venue_should_not_say():
    rows = klines_of(whole(), FIRST + 30 * MINUTE_NS)
    n = len(rows)
    again = np.repeat(rows, 2)
    again["high"][0] = again["low"][0] / 2
    stage = Chain(Intake(), Ordered(PreloadedBars(TIMEFRAMES, 60), ("trades", "preload")), ("trades", "preload"))
    stage.push(preload(again, FIRST + 30 * MINUTE_NS))
    (dead,) = next(frame.rows for frame in stage.advance() if frame.name == "dead_letters")
    assert dead.reason == "OHLC_INCONSISTENT"
    assert stage.first.streams["preload"].rejected == {"OHLC_INCONSISTENT": 1, "DUPLICATE": n - 1}
