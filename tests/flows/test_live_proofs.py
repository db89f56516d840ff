"""What is promised of instruments that are quiet, and of connections that are dead or mute; an exchange, ccxt, the engine, bars."""

from __future__ import annotations

import bytewax.operators as op
import pytest
from lab import Joined
from live_bench import FIELDS, PATIENT, Bench, bars_of, end_of_minute, market, to_the_bars

from events.rows import BAR
from events.schema import NEVER, PARTIAL, SYNTHETIC
from events.times import MINUTE_NS, SECOND_NS
from operators.keyed import keyed, merge, omit, pick
from operators.latest import Input

BTC, ETH, KRAKEN = "binance:BTC/USDT", "binance:ETH/USDT", "kraken:BTC/USD"


def begun(bench, *instruments):
    """Wait until trades of these have been handed out."""
    for name in instruments:
        bench.until(lambda: bench.source.standings[name].rows, f"{name} does not begin")  # noqa: B023
    bench.until(lambda: bench.states()[-1:] == [("up", "")], "not up")


@pytest.mark.slow
def test_the_bars_of_a_quiet_instrument_close_on_heartbeats(tmp_path):
    ends = []

    def script(bench):
        bench.until(lambda: bench.source.standings[BTC].rows, "nothing comes")
        ends.append(bench.trade(ETH, 3_000.0, 2.0, 1))
        begun(bench, ETH)
        bench.until(lambda: len(bench.rows(ETH, "bars.1m")) == 2, "the quiet bars do not close")

    with market(BTC, ETH, begins_s=8, trading=[BTC]) as exchange:
        bench = Bench(tmp_path, exchange, [BTC, ETH], **PATIENT)
        bench.run(script)
    first, second = bench.rows(ETH, "bars.1m")[["ts_close", "close", "n_trades", "flags"]].tolist()
    assert first == (ends[0], 3_000.0, 1, PARTIAL)
    assert second == (ends[0] + MINUTE_NS, 3_000.0, 0, SYNTHETIC)
    rows, watermarks, voids = bench.recorded(ETH)
    assert len(rows) == 1
    assert {ends[0], ends[0] + MINUTE_NS} <= set(watermarks)
    assert voids == []
    assert bench.states() == [("starting", "it is not connected yet"), ("up", ""), ("stopped", "")]
    assert not bench.dead_letters()


@pytest.mark.slow
def test_on_a_dead_connection_no_bar_closes_which_is_said_and_after_it_the_bars_are_those_of_what_was_traded(tmp_path):
    ends = []

    def bars(name):
        """Those of the minute in which the connection died, or a later one."""
        return [bar for bar in bench.rows(name, "bars.1m") if bar["ts_close"] >= ends[0]]

    def script(bench):
        bench.until(lambda: bench.source.standings[BTC].rows, "nothing comes")
        bench.exchange.trade(ETH, 3_000.0, 2.0, 1)
        begun(bench, BTC, ETH)
        bench.until_minute_has(5)
        for fault in ("refuse", "rest-429"):
            bench.exchange.fault(fault, 1e9)
        bench.exchange.fault("reset")
        ends.append(bench.trade(ETH, 3_001.0, 1.0, -1))
        bench.until(lambda: bench.source.standings[ETH].voids, "no void")
        bench.until(lambda: bench.states()[-1][0] == "down", "not down")
        assert not bars(BTC)
        assert not bars(ETH)
        for fault in ("refuse", "rest-429"):
            bench.exchange.clear(fault)
        bench.until(lambda: bench.states()[-1][0] == "up", "not up again")
        bench.until(lambda: bars(ETH) and bars(BTC), "no bar closes")

    with market(BTC, ETH, begins_s=12, trading=[BTC]) as exchange:
        bench = Bench(tmp_path, exchange, [BTC, ETH], **PATIENT | {"void_after_s": 2.0, "down_after_s": 8.0})
        bench.run(script)
        traded = {name: exchange.traded(name)[FIELDS].tolist() for name in (BTC, ETH)}
    states = bench.states()
    assert [state for state, _ in states] == ["starting", "up", "degraded", "down", "up", "stopped"]
    assert states[2][1].startswith("connection lost")
    assert states[3][1].startswith("nothing was pushed for 8 s: connection lost")
    for name in (BTC, ETH):
        rows, _, voids = bench.recorded(name)
        assert rows == traded[name][traded[name].index(rows[0]) :][: len(rows)]
        assert [until for _, until in voids] == ends
        assert voids[0][0] < ends[0]
        begin = ends[0] - MINUTE_NS
        ((start, open_, close, volume, n),) = bars_of([row for row in rows if row[1] < ends[0]], begin, ends[0])
        bar, flags = bars(name)[0], PARTIAL if bench.began_ns(name) > begin else 0
        assert bar[["ts_open", "open", "close", "n_trades", "flags"]].item() == (start, open_, close, n, flags)
        assert bar["volume"] == pytest.approx(volume)
    assert traded[ETH][-1] in bench.recorded(ETH)[0]  # made while nobody listened
    assert not bench.dead_letters()
    assert not len(bench.rows(BTC, "gaps"))
    replayed = bench.replayed()
    for name in (BTC, ETH):
        assert replayed.rows(name, "bars.1m").tobytes() == bench.rows(name, "bars.1m").tobytes()


@pytest.mark.slow
def test_on_a_mute_connection_no_trade_is_late_and_none_is_lost(tmp_path):
    """Pings are answered, and so is REST; what is not pushed comes over REST, and nothing is promised past it before that."""
    mute_ns = []

    def script(bench):
        bench.until(lambda: bench.source.standings[BTC].rows, "nothing comes")
        bench.exchange.trade(ETH, 3_000.0, 2.0, 1)
        begun(bench, BTC, ETH)
        feed = bench.source.exchange.feeds["binance"]
        bench.exchange.fault("mute")
        mute_ns.append(bench.exchange.now_ns)
        bench.exchange.trade(ETH, 3_001.0, 1.0, -1)
        bench.until(lambda: feed.counts["mute"], "not found to be mute")
        bench.until(lambda: bench.states()[-1][0] in ("degraded", "down"), "not degraded")
        bench.until_market(mute_ns[0] + 6 * SECOND_NS)
        bench.exchange.trade(ETH, 3_002.0, 1.0, -1)
        mute_ns.append(bench.exchange.now_ns)
        bench.exchange.clear("mute")
        bench.until(lambda: bench.states()[-1][0] == "up", "not up again")
        bench.until(lambda: bench.source.standings[ETH].watermark_ns > mute_ns[1], "no promise after it")

    with market(BTC, ETH, begins_s=40, trading=[BTC]) as exchange:
        bench = Bench(tmp_path, exchange, [BTC, ETH], grid_s=1.0)
        bench.run(script)
        traded = {name: exchange.traded(name)[FIELDS].tolist() for name in (BTC, ETH)}
    for name in (BTC, ETH):
        rows, _, _ = bench.recorded(name)
        assert rows == traded[name][traded[name].index(rows[0]) :][: len(rows)]
    rows, watermarks, _ = bench.recorded(ETH)
    assert [row[2] for row in rows] == [3_000.0, 3_001.0, 3_002.0]
    assert not [at for at in watermarks if mute_ns[0] < at <= mute_ns[1]]  # no beacon, no promise
    assert not bench.dead_letters()
    replayed = bench.replayed()
    assert not replayed.dead_letters()


def with_reference(market_, plan):
    """Beside what `to_the_bars` gives, at each bar of every instrument the newest bar of binance's, at most three minutes old."""
    told = to_the_bars(market_, plan)
    bars = pick("base", omit("of_market", told, "components"), "bars.1m")

    def broadcast(item):
        frame = item[1]
        keys = (BTC, KRAKEN) if frame.instrument == BTC else ()
        return [(key, frame._replace(instrument=key, name="reference")) for key in keys]

    inputs = (Input("reference", BAR, 3 * MINUTE_NS),)
    streams = ("bars.1m", "reference")
    joined = keyed(
        "joined", Joined, ("joined", "bars.1m", inputs), streams, bars, op.flat_map("broadcast", bars, broadcast)
    )
    return merge("all", told, joined)


@pytest.mark.slow
def test_joins_of_other_instruments_go_on_without_one_that_is_void_and_its_own_wait_for_it(tmp_path):
    ends = []

    def ages(bench, name):
        """How old the reference was, by when bars were joined to it since the connection died."""
        found = {int(row["available_at"]): int(row["reference.age"]) for row in bench.rows(name, "joined")}
        return {at: age for at, age in found.items() if at >= ends[0]}

    def script(bench):
        begun(bench, BTC, KRAKEN)
        bench.until(lambda: all(health.state == "up" for health in bench.source.health.values()), "not all up")
        bench.until_minute_has(5)
        for fault in ("refuse", "rest-429"):
            bench.exchange.fault(fault, 1e9, "binance")
        bench.exchange.fault("reset", None, "binance")
        ends.append(end_of_minute(bench.exchange.now_ns))
        bench.until(lambda: ages(bench, KRAKEN), "the join does not go on")
        assert not ages(bench, BTC)
        for fault in ("refuse", "rest-429"):
            bench.exchange.clear(fault, "binance")
        bench.until(lambda: ages(bench, BTC), "its own join does not go on")
        bench.until(lambda: len(ages(bench, KRAKEN)) == 2, "the next boundary does not come")

    with market(BTC, KRAKEN, begins_s=14, trading=[BTC, KRAKEN]) as exchange:
        bench = Bench(tmp_path, exchange, [BTC, KRAKEN], **PATIENT | {"void_after_s": 10.0})
        bench.run(script, with_reference)
    first, second = sorted(ages(bench, KRAKEN).items())
    assert first == (ends[0], NEVER), "missing for good, though it came later"
    assert second == (ends[0] + MINUTE_NS, 0)
    assert ages(bench, BTC)[ends[0]] == 0
    replayed = bench.replayed(with_reference)
    for name in (BTC, KRAKEN):
        assert replayed.rows(name, "joined").tobytes() == bench.rows(name, "joined").tobytes()
