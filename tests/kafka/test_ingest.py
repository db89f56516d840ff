"""`tidewax ingest` on a real broker: what the topic holds is what the exchange, the tape or the files said, once and in order."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from commands import command, environment, start
from ingest_bench import WITHIN_S, differing, killed, make_topics, of_files, of_tape, of_topic

from connectors.files import open_inputs
from connectors.kafka.client import Connection
from connectors.kafka.names import Topics
from connectors.kafka.universe import read_universe
from connectors.simulator import Market, write_trades
from connectors.simulator.exchange import Exchange
from connectors.simulator.listings import Listing
from connectors.tape import Recording
from events.feeds import FEEDS, UNIVERSE
from events.frames import CONTROL
from events.schema import LEAVE
from events.times import DAY_NS
from flows.rundir import INGEST, read_run

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))


@pytest.fixture
def named(prefix):
    """The prefix of the topics of a test."""
    return prefix.rstrip(".")


@pytest.fixture
def topics(broker, named):
    make_topics(broker, named)
    return Topics(named)


def settings(folder, broker, prefix, wire="arrow", **sections):
    path = folder / "ingest.yaml"
    lines = [f"kafka: {{servers: '{broker.bootstrap}', prefix: {prefix}, wire: {wire}, group: {prefix}}}\n"]
    path.write_text("".join([*lines, *(f"{name}: {given}\n" for name, given in sections.items())]))
    return path


def kafka(broker, prefix):
    """The same as variables."""
    given = {"servers": broker.bootstrap, "prefix": prefix, "group": prefix}
    return {f"TIDEWAX__KAFKA__{name.upper()}": value for name, value in given.items()}


@pytest.fixture(scope="module")
def trades(tmp_path_factory):
    """A file of trades of two instruments."""
    path = tmp_path_factory.mktemp("trades") / "trades.parquet"
    write_trades(path, (Market(seed=3), Market("synthetic:ETH/USDT", 3_000.0, seed=4)), 19_675 * DAY_NS, 0.2)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["arrow", "json"])
def test_files_are_in_the_topic_once_whenever_it_was_killed(tmp_path, broker, named, topics, trades, wire):
    r, out = random.Random(f"{wire}-1"), tmp_path / "run"
    for where in ("queued", "settled", "sent", "snapshot")[: 4 if SOAK else 2]:
        run = {"chunk": r.choice((20, 60)), "epoch_s": 0.05}
        config = settings(tmp_path, broker, named, wire, run=f"{{chunk: {run['chunk']}, epoch_s: {run['epoch_s']}}}")
        times = r.randrange(2, 140) if where in ("queued", "sent") else r.randrange(1, 4)
        done = killed(where, times, trades, "--config", config, "--out", out)
        assert done.returncode == -signal.SIGKILL, done.stderr + done.stdout
    done = command("ingest", trades, "--config", config, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    inputs = open_inputs([trades])
    expected, written = of_files(inputs), of_topic(broker.bootstrap, named)
    assert not differing(expected, written)
    assert sum(story.count for story in expected.values()) > 8_000
    told = read_run(out, INGEST)
    assert told["state"] == "finished"
    assert told["rows"] == {key: {name: story.count} for (key, name), story in written.items()}
    announced = read_universe(Connection(broker.bootstrap), topics.universe)
    assert announced.universe.instruments == inputs.instruments
    assert not announced.live
    again = command("ingest", trades, "--config", config, "--out", out)
    assert again.returncode == 0
    assert "holds a finished ingest" in again.stdout


INSTRUMENTS = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD")


def stopped(process):
    """End a run by SIGTERM; what it said."""
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, "")
    return out


def grown(process, tape, size):
    """Wait until so many bytes more are on the tape."""
    began, ends = bytes_of(tape), time.monotonic() + WITHIN_S
    while bytes_of(tape) < began + size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "the tape does not grow"
        time.sleep(0.02)


def bytes_of(tape):
    return sum(file.stat().st_size for file in tape.glob("*.tape"))


@pytest.mark.slow
def test_exchanges_are_in_the_topic_as_they_are_on_the_tape_whenever_it_was_killed(tmp_path, broker, named, topics):
    r, out = random.Random(6), tmp_path / "run"
    with Exchange(INSTRUMENTS, seed=5, speed=5, activity=10, history_days=1.2) as exchange:
        address = exchange.url.removeprefix("http://")
        given = f"{{feeds: all, preload: 60, addresses: {{binance: '{address}', kraken: '{address}'}}}}"
        config = settings(tmp_path, broker, named, exchange=given)
        for where in (
            ("recorded", "queued", "sent", "settled", "snapshot") * 4 if SOAK else ("recorded", "queued", "settled")
        ):
            times = r.randrange(20, 200) if where in ("queued", "sent", "recorded") else r.randrange(2, 16)
            done = killed(where, times, *INSTRUMENTS, "--config", config, "--out", out)
            assert done.returncode == -signal.SIGKILL, done.stderr + done.stdout
        shown = ("--status-every", 0.5, "--metrics-port", 0)
        process = start("ingest", *INSTRUMENTS, "--config", config, "--out", out, *shown)
        grown(process, out / "tape", 200_000)
        address = next(line for line in process.stdout if line.startswith("metrics: ")).split()[1]
        with urllib.request.urlopen(address, timeout=WITHIN_S) as answer:
            metrics = answer.read().decode()
        said = stopped(process)
    for name in INSTRUMENTS:
        assert re.search(f'tidewax_last_event_timestamp_seconds{{feed="trades",key="{name}",.*}} [1-9]', metrics)
    assert 'tidewax_ingest_records_total{kind="book",venue="binance"}' in metrics
    assert "lag " in said
    assert "; binance " in said
    expected, written = of_tape(out / "tape"), of_topic(broker.bootstrap, named)
    assert not differing(expected, written)
    assert {name for _, name in written} >= {"trades", "preload", "book", "top", "ticker", "funding"}
    assert {key for key, _ in written} == set(INSTRUMENTS)
    assert sum(story.count for story in written.values()) > 5_000
    told, tape = read_run(out, INGEST), Recording(out / "tape")
    assert told["state"] == "stopped"
    counts = {key: {} for key in sorted({key for key, _ in written})}
    for (key, name), story in sorted(written.items()):
        counts[key] |= {name: story.count} if story.count else {}
    assert told["rows"] == counts
    announced = read_universe(Connection(broker.bootstrap), topics.universe)
    assert announced.live
    assert announced.universe == tape.header.universe
    make_topics(broker, f"{named}.again")
    done = command("ingest", "--tape", out / "tape", "--out", tmp_path / "again", **kafka(broker, f"{named}.again"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not differing(expected, of_topic(broker.bootstrap, f"{named}.again"))
    assert read_run(tmp_path / "again", INGEST)["rows"] == counts


def lead(exchange, instrument, notional):
    """Make a market the one with so much more turnover."""
    price = Listing.of(instrument).asset.price
    exchange.trade(instrument, price, round(notional / price, 3), 1)


def changes(tape):
    """Who has joined and left so far, as the tape says."""
    if not bytes_of(tape):
        return []
    items = [item for _, items in Recording(tape).read(0) for item in items]
    return [(key, n) for key, frame in items if frame.name == UNIVERSE for n in frame.rows["change"].tolist()]


@pytest.mark.slow
def test_who_leaves_and_joins_again_begins_anew_in_the_topic(tmp_path, broker, named, topics):
    btc, eth, sol = (f"binance:{base}/USDT" for base in ("BTC", "ETH", "SOL"))
    out, rule = tmp_path / "run", "{top: 1, keep: 1, refresh_s: 10}"
    tape, notional = out / "tape", 1e12
    with Exchange((btc, eth, sol), seed=3, speed=2, activity=5, history_days=0.1) as exchange:
        address = exchange.url.removeprefix("http://")
        given = f"{{symbols: {{binance: [BTC/USDT]}}, universe: {{binance: {rule}}}, feeds: [trades, top], preload: 0, addresses: "
        config = settings(tmp_path, broker, named, exchange=f"{given}{{binance: '{address}'}}}}")
        lead(exchange, sol, notional)
        wanted = [(sol, 1)]
        for leader, times in ((eth, 60), (sol, 0)):
            if times:
                done = killed("sent", times, "--config", config, "--out", out)
                assert done.returncode == -signal.SIGKILL, done.stderr + done.stdout
            process, ends = start("ingest", "--config", config, "--out", out), time.monotonic() + WITHIN_S
            while changes(tape)[: len(wanted)] != wanted:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < ends, changes(tape)
                time.sleep(0.2)
            notional *= 10
            lead(exchange, leader, notional)
            wanted += [(wanted[-1][0], -1), (leader, 1)]
            while changes(tape)[: len(wanted)] != wanted:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < ends, changes(tape)
                time.sleep(0.2)
            grown(process, tape, 20_000)
            process.kill()
            process.communicate()
        process = start("ingest", "--config", config, "--out", out)
        grown(process, tape, 20_000)
        stopped(process)
    expected, written = of_tape(tape), of_topic(broker.bootstrap, named)
    assert not differing(expected, written)
    assert {(sol, "trades"), (eth, "trades"), (sol, "universe"), ("binance:*", "members")} <= written.keys()
    left = [n for n, row in written[sol, "trades"].said if np.frombuffer(row, CONTROL)["kind"][0] == LEAVE]
    assert len(left) == 1
    assert written[sol, "trades"].count > left[0] > 0, "it trades before and after"


def runner(config, store):
    """The flow under the engine's own runner."""
    line = [sys.executable, "-m", "bytewax.run", "flows.ingest", "-r", str(store), "-s", "1", "-b", "0"]
    more = environment(TIDEWAX_CONFIG=str(config))
    return subprocess.Popen(line, env=more, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_brokers_may_be_away_and_the_engines_own_runner_goes_on(tmp_path, own_broker, named):
    make_topics(own_broker, named)
    out = tmp_path / "run"
    tape = out / "tape"
    with Exchange(INSTRUMENTS[:1], seed=6, speed=5, activity=20, history_days=0.1) as exchange:
        address = exchange.url.removeprefix("http://")
        given = f"{{preload: 0, symbols: {{binance: [BTC/USDT]}}, addresses: {{binance: '{address}'}}}}"
        config = settings(tmp_path, own_broker, named, exchange=given, output=f"{{directory: {out}}}")
        process = start("ingest", "--config", config, "--out", out)
        grown(process, tape, 50_000)
        own_broker.pause()
        grown(process, tape, 1)  # there is something that cannot be written
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 1
        assert "goes on from its last snapshot" in err
        own_broker.resume()
        process = runner(config, out / "recovery")
        grown(process, tape, 50_000)
        own_broker.pause()
        time.sleep(3)  # a while without a broker, which nothing tells of
        own_broker.resume()
        grown(process, tape, 50_000)
        stopped(process)
    expected, written = of_tape(tape), of_topic(own_broker.bootstrap, named)
    assert not differing(expected, written)
    assert read_run(out, INGEST)["rows"] == {INSTRUMENTS[0]: {"trades": written[INSTRUMENTS[0], "trades"].count}}
    ids = np.frombuffer(b"".join(written[INSTRUMENTS[0], "trades"].rows), FEEDS["trades"].dtype)["trade_id"]
    assert (np.diff(ids) == 1).all()
    assert len(ids) > 500
