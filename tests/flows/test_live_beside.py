"""Streams beside trades in live runs on an exchange of this machine: killed and restarted, and where one exchange of two dies."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from commands import called, start
from live_bench import MINUTE, PATIENT, Bench, Heard, market

from connectors.simulator.exchange import Exchange
from connectors.simulator.quotes import fear_greed
from connectors.tape import Recording, Tape, TapeSource, Universe
from connectors.watch import WatchSink
from events.feeds import FEEDS, PRELOAD, TRADES
from events.schema import FOREVER, HOLE, NEVER, RECONNECT, VOID
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from flows.engine import dataflow, run_flow
from flows.graph import build_live
from flows.verify import verify

SPOT, SWAP, KRAKEN = "binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD"
QUOTES = {"top", "ticker", "context"}
HAS = {
    SPOT: QUOTES,
    SWAP: QUOTES | {"funding", "open_interest", "long_short", "liquidations"},
    KRAKEN: QUOTES,
}
STREAMS = HAS[SWAP]
SETTINGS = """
exchange:
  feeds: [trades, top, ticker, funding, open_interest, long_short, liquidations]
  addresses: {{binance: "{address}", kraken: "{address}"}}
  context: "http://{address}/fng/"
  poll_s: 5
  preload: 0
bars: {{time: [1m, 5m]}}
confluence: {{blend: {{1m: 0.6, 5m: 0.4}}}}
signals: {{tf: 1m}}
"""
WITHIN_S = 300.0


def frames_of(tape):
    """(instrument, frame) of all streams, in order."""
    return [item for _, items in Recording(tape).read(0) for item in items]


def rows_of(tape):
    """All rows by instrument and stream."""
    found = {}
    for key, frame in frames_of(tape):
        if len(frame.rows):
            found.setdefault((key, frame.name), []).append(frame.rows)
    return {at: np.concatenate(parts) for at, parts in found.items()}


def counts(tape):
    return {at: len(rows) for at, rows in rows_of(tape).items()} if any(tape.glob("*.tape")) else {}


def promises(tape):
    """Up to when all is said, by instrument and stream."""
    promised = {}
    for key, frame in frames_of(tape):
        promised[key, frame.name] = max(promised.get((key, frame.name), NEVER), frame.watermark)
    return promised


def closed(tape):
    """How many bars of one and of five minutes have ended between the first trade and the newest, where they are fewest."""
    times = {key: rows["available_at"].tolist() for (key, name), rows in rows_of(tape).items() if name == TRADES}
    lengths = (MINUTE_NS, 5 * MINUTE_NS)
    return min(sum(times[key][-1] // n - times[key][0] // n for n in lengths) if key in times else 0 for key in HAS)


def wait(process, reached, what):
    """Wait until something is so; the deadline is only there to end a test that has failed."""
    ends = time.monotonic() + WITHIN_S
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, what
        time.sleep(0.5)


@pytest.mark.slow
def test_killed_and_restarted_nothing_comes_twice_and_a_replay_is_equal(tmp_path):
    run, tape, config = tmp_path / "run", tmp_path / "run" / "tape", tmp_path / "live.yaml"
    wanted = {(key, stream) for key, streams in HAS.items() for stream in streams}
    boundary = MINUTE + MINUTE_NS
    begin = boundary - 12 * SECOND_NS
    with Exchange(tuple(HAS), seed=5, start_ns=begin, speed=1, activity=60, history_days=2) as exchange:
        config.write_text(SETTINGS.format(address=exchange.url.removeprefix("http://")))
        process = start("live", *HAS, "--config", config, "--out", run)
        wait(process, lambda: wanted <= counts(tape).keys(), lambda: wanted - counts(tape).keys())
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        before = counts(tape)
        process = start("live", *HAS, "--config", config, "--out", run, "--workers", 2)
        again = {
            at for at in wanted if at[1] not in ("long_short", "funding", "context")
        }  # those have news every few minutes
        wait(process, lambda: all(counts(tape)[at] > before[at] for at in again), "no news")
        wait(process, lambda: exchange.now_ns > begin + 80 * SECOND_NS, "the market stands still")
        wait(process, lambda: all(promises(tape)[at] > boundary for at in wanted), lambda: promises(tape))
        wait(process, lambda: closed(tape) >= 2, "too few bars")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, err) == (0, ""), out
    rows, promised = rows_of(tape), {}
    for key, frame in frames_of(tape):
        assert frame.watermark in (NEVER, FOREVER) or frame.watermark >= promised.get((key, frame.name), NEVER)
        promised[key, frame.name] = max(promised.get((key, frame.name), NEVER), frame.watermark)
    assert promised == promises(tape)
    for (key, stream), found in rows.items():
        assert stream in {*HAS[key], TRADES, PRELOAD}
        if stream in HAS[key]:
            assert (np.diff(found["seq"]) > 0).all(), (key, stream)
    for stream in ("open_interest", "long_short"):
        assert (np.diff(rows[SWAP, stream]["ts_event"]) > 0).all()
    settled = rows[SWAP, "funding"][rows[SWAP, "funding"]["predicted"] == 0]
    assert len(settled) >= 5
    assert (np.diff(settled["ts_event"]) > 0).all()
    assert (settled["available_at"] == settled["ts_event"]).all()  # all of before the run
    assert (settled["interval_h"] == 8.0).all()
    lacking = [
        (key, frame.name) for key, frame in frames_of(tape) if frame.watermark == FOREVER and frame.name != PRELOAD
    ]
    assert sorted(lacking) == sorted((key, name) for key in (SPOT, KRAKEN) for name in STREAMS - QUOTES)
    assert all(promised[at] > boundary for at in wanted), promised
    for key in HAS:
        (figure,) = rows[key, "context"]
        assert figure["value"] == fear_greed(5, int(figure["ts_event"]) // DAY_NS)
        assert figure["available_at"] == min(figure["ts_event"] + HOUR_NS, figure["ts_recv"])
    assert len({*rows[SWAP, "liquidations"]["liq_id"].tolist()}) == len(rows[SWAP, "liquidations"])
    holes = [
        said[["since", "until", "reason"]].tolist()
        for key, frame in frames_of(tape)
        if (key, frame.name) == (SWAP, "liquidations") and len(said := frame.control[frame.control["kind"] == HOLE])
    ]
    assert len(holes) == 1, "what was liquidated while nobody listened is gone, which is said"
    ((since, until, reason),) = holes[0]
    assert begin - MINUTE_NS <= since < until
    assert reason == RECONNECT
    traded = rows[SWAP, TRADES]
    sides = dict(zip(zip(traded["available_at"].tolist(), traded["price"].tolist()), traded["side"].tolist()))
    for row in rows[SWAP, "liquidations"]:
        assert row["pos"] == -sides[int(row["available_at"]), float(row["price"])], "who is sold out was long"
    repeat = tmp_path / "again"
    assert called("replay", tape, "--config", config, "--out", repeat).returncode == 0
    verdict = verify(run, repeat)
    assert not verdict.differences
    assert verdict.rows > 10


def replayed(tape, plan):
    """What leaves the graph when a tape is replayed."""
    heard = Heard()
    source = TapeSource(Recording(tape), 10_000)
    run_flow(dataflow("replay", source, lambda stream: build_live(stream, plan), WatchSink(heard.frames.append)))
    return heard


def told(heard, key):
    """The bytes of what left the graph of an instrument, by stream; states of components and counts of what came are not of it."""
    names = {frame.name for frame in heard.frames if frame.instrument == key} - {"components", "counts"}
    return {
        name: rows.tobytes() if hasattr(rows := heard.rows(key, name), "tobytes") else repr(rows)
        for name in sorted(names)
    }


def after(bench, key, at_ns):
    """What was said of an instrument at the ends of minutes after a time."""
    return [row for row in bench.rows(key, "confluence") if row["available_at"] > at_ns]


@pytest.mark.slow
def test_where_one_exchange_of_two_dies_the_rows_of_the_other_are_those_of_a_run_without_it(tmp_path):
    def script(bench):
        bench.until(
            lambda: all(bench.source.beside[at].rows for at in bench.source.beside if at[1] == "top"), "no quotes"
        )
        bench.until_minute_has(5)
        for fault in ("refuse", "rest-429"):
            bench.exchange.fault(fault, 1e9, "binance")
        bench.exchange.fault("reset", None, "binance")
        died_ns = bench.exchange.now_ns
        bench.until(  # a first bar that is not whole has no features
            lambda: after(bench, KRAKEN, died_ns) and len(bench.rows(KRAKEN, "features.1m")), "kraken waits"
        )
        lost = [bench.source.standings[SWAP], *(bench.source.beside[SWAP, name] for name in ("ticker", "funding"))]
        bench.until(lambda: all(stream.voids for stream in lost), "nothing is said to be missing")
        assert not after(bench, SWAP, died_ns)
        assert bench.source.health["kraken"].state == "up"
        assert {health.state for health in bench.source.streams if health.exchange == "kraken"} == {"up"}
        assert "degraded" in {health.state for health in bench.source.streams if health.exchange == "binance"}

    with market(SWAP, KRAKEN, begins_s=14, trading=[SWAP, KRAKEN]) as exchange:
        options = PATIENT | {"void_after_s": 8.0, "poll_s": 5.0}
        bench = Bench(tmp_path, exchange, [SWAP, KRAKEN], beside=("top", "ticker", "funding"), **options)
        bench.run(script, build_live)
    voids = {(key, frame.name) for key, frame in frames_of(bench.tape) if (frame.control["kind"] == VOID).any()}
    assert {(SWAP, TRADES), (SWAP, "ticker"), (SWAP, "funding")} <= voids
    assert not {at for at in voids if at[0] == KRAKEN}
    header = Recording(bench.tape).header.universe
    lacking = {KRAKEN: header.lacking[KRAKEN]}
    with Tape(tmp_path / "alone", Universe((KRAKEN,), header.sequenced & {KRAKEN}, header.feeds, lacking)) as alone:
        for _, items in Recording(bench.tape).read(0):
            alone.append([item for item in items if item[0] == KRAKEN])
    expected = told(bench, KRAKEN)
    assert expected == told(replayed(tmp_path / "alone", bench.plan), KRAKEN)
    assert expected == told(replayed(bench.tape, bench.plan), KRAKEN)
    assert {"bars.1m", "features.1m", "confluence"} <= expected.keys()
    assert not FEEDS.keys() & expected.keys()
