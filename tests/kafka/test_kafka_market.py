"""`tidewax market` on a real broker: shards that are told of each other are the backtest of the same trades, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from commands import command, start, start_killed, start_runner
from shards_bench import DAY, WITHIN_S, ingested, make_topics, messages_of, told

from connectors.kafka.client import Connection
from connectors.kafka.names import Topics, shard_of
from connectors.kafka.routes import cross_routes
from connectors.kafka.sink import KafkaSink
from connectors.kafka.wire import position_of
from connectors.recovery import make_store
from connectors.simulator import Market, write_trades
from events.feeds import GLOBAL
from events.frames import Frame
from events.rows import MARKET_ROW
from events.streams import Columns
from flows.rundir import MARKET, shard_directory
from flows.verify import verify
from operators.market import EARLIER, TOGETHER

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
SHARDS = 2
REFERENCE = "binance:BTC/USDT"
KEYS = (REFERENCE, *(f"synthetic:{base}/USDT" for base in ("ETH", "SOL", "ADA", "DOT", "XRP", "LTC")))
SETTINGS = """
bars: {{time: [1m, 5m, 30m]}}
confluence: {{theta: 10.0, blend: {{1m: 0.7, 5m: 0.3}}}}
signals: {{tf: 1m}}
dimensions: {{weights: {{bitcoin_beta: 0.2}}}}
output: {{directory: "{out}"}}
run: {{epoch_s: 0.2, chunk: 2000, status_s: 0}}
kafka: {{servers: "{servers}", prefix: "{prefix}", group: "{prefix}", wire: {wire}, market: {market}, results: [{results}]}}
"""
pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def settings(folder, servers, prefix, wire="arrow", market="true", results="bars, features, confluence, signals"):
    path = folder / "live.yaml"
    given = {"servers": servers, "prefix": prefix, "wire": wire, "market": market, "results": results}
    path.write_text(SETTINGS.format(out=folder / "live", **given))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of trades and its backtest."""
    folder = tmp_path_factory.mktemp("made")
    file = folder / "trades.parquet"
    write_trades(
        file, [Market(key, 10.0 * 3**k, seed=k, trades_per_minute=1.5) for k, key in enumerate(KEYS)], DAY, 1.1
    )
    done = command("backtest", file, "--out", folder / "run", "--config", settings(folder, "nowhere:1", "none"))
    assert done.returncode == 0, done.stderr
    rows = told(folder / "run")["rows"]
    assert rows["global.1m"]["GLOBAL"] > 1_500
    assert set(rows["beta.1m"]) == set(KEYS)
    assert {shard_of(key, SHARDS) for key in KEYS} == {0, 1}
    return folder


@pytest.fixture
def deploy_on(made, prefix, tmp_path):
    """The trades in a market topic of a broker; makes its topics and a settings file."""

    def deploy(broker, **more):
        topics = make_topics(broker, prefix.rstrip("."), SHARDS)
        broker.create(topics.result("global"), 1)
        config = settings(tmp_path, broker.bootstrap, topics.prefix, **more)
        ingested(made / "trades.parquet", tmp_path / "ingest", config)
        return topics, config

    return deploy


@pytest.fixture
def deployed(deploy_on, broker):
    """The same, on the broker that stays."""
    return partial(deploy_on, broker)


def ended(process, code=0):
    """Wait until a process has ended as it should."""
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == code, out + err
    return out


def check_told(broker, topics, made):
    """Each instrument was told every row once and in order, in the partition of its shard; GLOBAL stands in a topic of its own."""
    found = Counter()
    for message in [*messages_of(broker, topics.cross), *messages_of(broker, topics.result("global"))]:
        key, position = message.key().decode(), position_of(message.headers())
        assert message.partition() == (0 if key == "GLOBAL" else shard_of(key, SHARDS))
        if position.rows:
            assert position.first == found[key, position.stream], "lost, twice, or out of order"
        found[key, position.stream] += position.rows
    rows = told(made / "run")["rows"]
    assert found["GLOBAL", "global.1m"] == rows["global.1m"]["GLOBAL"]
    for key in KEYS:
        assert found[key, "market.1m"] == rows["global.1m"]["GLOBAL"]
        assert (found[key, "reference.1m"] > 1_500) == (key != REFERENCE)


def same(made, live):
    """Whether the shards and what compared them are the backtest."""
    verdict = verify(live, made / "run")
    assert verdict.differences == []
    assert verdict.rows > 50_000
    run = told(live / MARKET)
    assert run["rows"]["global.1m"] == told(made / "run")["rows"]["global.1m"]
    assert run["state"] == "stopped"


def test_what_a_killed_run_wrote_of_all_together_is_not_written_again(broker, prefix):
    """It is in a topic of one partition, which is opened when the first row comes."""
    topics = Topics(prefix.rstrip("."))
    broker.create(topics.cross, SHARDS)
    broker.create(topics.result("global"), 1)
    rows = np.zeros(5, MARKET_ROW)
    rows["available_at"] = np.arange(1, 6)
    routes = cross_routes(topics, {name: Columns(name, MARKET_ROW) for name in (EARLIER, TOGETHER)}, TOGETHER)
    parts = []
    for n in (3, 5):
        sink = KafkaSink(Connection(broker.bootstrap), routes, writer=prefix, run="a1")
        parts.append(sink.build_part("market", sink.list_parts()[sink.part_fn(GLOBAL)], None))
        parts[-1].write_batch([Frame(GLOBAL, TOGETHER, rows[:n], n + 1)])
        parts[-1].snapshot()
    for part in parts:
        part.close()
    found = [position_of(message.headers()) for message in messages_of(broker, topics.result("global"))]
    assert [(position.first, position.rows) for position in found] == [(0, 3), (3, 2)]


def shards_wait(tmp_path, *at):
    """Run shards to the end of their topics: features wait for nobody, and what is compared waits for who compares."""
    for process in [start("live", *at, "--shard", number) for number in range(SHARDS)]:
        ended(process)
    for number in range(SHARDS):
        rows = told(shard_directory(tmp_path / "live", number))["rows"]
        assert sum(rows["features.1m"].values()) > 1_000
        assert not {name for name in ("beta.1m", "confluence", "signals") if rows.get(name)}


def test_shards_that_are_told_of_each_other_are_the_backtest(made, deployed, broker, tmp_path):
    topics, config = deployed()
    at = ("--config", config, "--out", tmp_path / "live", "--until-end")
    shards_wait(tmp_path, *at)
    out = ended(start("market", *at))
    assert "rows of global.1m" in out
    ended(start("live", *at))
    same(made, tmp_path / "live")
    check_told(broker, topics, made)
    refused = command("outcomes", tmp_path / "live" / MARKET)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "has no signals of its own: name a shard" in refused.stderr
    shard = shard_directory(tmp_path / "live", shard_of(KEYS[1], SHARDS))
    with sqlite3.connect(shard / "tidewax.sqlite") as tables:
        (signal_id,) = tables.execute("SELECT id FROM signals ORDER BY ts DESC").fetchone()
    assert "market at " in command("explain", shard, signal_id).stdout


def test_under_the_engines_own_runner(made, deployed, broker, tmp_path):
    topics, config = deployed(wire="json")
    at = ("--config", config, "--out", tmp_path / "live", "--until-end")
    shards_wait(tmp_path, *at)
    make_store(tmp_path / "store")
    process = start_runner("flows.market", "-r", tmp_path / "store", "-s", 1, "-b", 0, TIDEWAX_CONFIG=str(config))
    ends_s, wanted = time.monotonic() + WITHIN_S, told(made / "run")["rows"]["global.1m"]["GLOBAL"]
    before, found, rows = -1, 0, 0
    while rows < wanted or found > before:  # all is told, and nothing more comes
        assert time.monotonic() < ends_s
        assert process.poll() is None, process.communicate()
        time.sleep(0.5)
        before, found = found, len(messages_of(broker, topics.cross))
        rows = sum(position_of(message.headers()).rows for message in messages_of(broker, topics.result("global")))
    process.send_signal(signal.SIGTERM)
    ended(process)
    ended(start("live", *at))
    same(made, tmp_path / "live")
    check_told(broker, topics, made)


def whole(made, live):
    """Wait until all rows of scores are there."""
    ends_s = time.monotonic() + 2 * WITHIN_S
    wanted = told(made / "run")["rows"]["confluence"]
    found = {}
    while time.monotonic() < ends_s:
        for number in range(SHARDS):
            path = shard_directory(live, number) / "tidewax.sqlite"
            if path.exists():
                with sqlite3.connect(path, timeout=10) as tables:
                    tables.execute("PRAGMA query_only = ON")
                    found |= dict(tables.execute("SELECT key, COUNT(*) FROM confluence GROUP BY key").fetchall())
        if found == wanted:
            return
        time.sleep(0.2)
    raise AssertionError(f"{found}, and not {wanted}")


def begun(*at):
    """Shards and what compares them, which hear signals."""
    processes = [start(name, *at, "--metrics-port", 0) for name in ("live", "market")]
    for process in processes:
        said = process.stdout.readline()
        while not said.startswith("metrics: "):
            assert said, process.communicate()
            said = process.stdout.readline()
    return processes


def test_stopped_while_the_broker_stands_still(made, deploy_on, own_broker, tmp_path):
    """They end all the same, and nothing is lost."""
    topics, config = deploy_on(own_broker)
    at = ("--config", config, "--out", tmp_path / "live")
    processes, ends_s = begun(*at), time.monotonic() + WITHIN_S
    while not [*(tmp_path / "live" / MARKET).glob("segments/global.1m.arrows")]:
        assert time.monotonic() < ends_s
        assert all(process.poll() is None for process in processes), [one.communicate() for one in processes]
        time.sleep(0.01)
    own_broker.pause()
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        out, err = process.communicate(timeout=WITHIN_S)
        assert process.returncode == int("Nothing could be written to Kafka" in err), out + err
        assert "Traceback" not in err
    own_broker.resume()
    own_broker.wait()
    for name in ("live", "market", "live"):  # what shards write is compared, and what is told by that is read
        ended(start(name, *at, "--until-end"))
    same(made, tmp_path / "live")
    check_told(own_broker, topics, made)


def test_all_killed_again_and_again_and_stopped_at_last(made, deployed, broker, tmp_path):
    """Each of the three processes is killed amid its writes, again and again, while the others go on."""
    topics, config = deployed()
    r, kills, at = random.Random("market"), 20 if SOAK else 3, ("--config", config, "--out", tmp_path / "live")
    rows = told(made / "run")["rows"]
    shares = [
        sum(
            n for counts in rows.values() for key, n in counts.items() if key != "GLOBAL" and shard_of(key, SHARDS) == k
        )
        for k in range(SHARDS)
    ]
    for _ in range(kills):
        killed = []
        for number, share in enumerate(shares):
            most = r.randrange(100, share // 2 // kills)  # half of it waits until all are compared
            soon, delay_s = r.randint(1, most), 0.3 * r.random()
            live = ("live", *at, "--shard", number)
            killed.append(start_killed(signal.SIGKILL, most, *live, soon=soon, delay_s=delay_s))
        most = r.randrange(1, rows["global.1m"]["GLOBAL"] // 4 // kills)
        market = start_killed(signal.SIGKILL, most, "market", *at, soon=r.randint(1, most), delay_s=0.1 * r.random())
        for process in killed:
            ended(process, -signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            market.wait(5)
        with suppress(ProcessLookupError):  # where the shards had told it too little before they were killed
            os.killpg(market.pid, signal.SIGKILL)
        ended(market, -signal.SIGKILL)
    processes = [start("live", *at), start("market", *at)]
    whole(made, tmp_path / "live")
    refused = command("market", *at)
    assert refused.returncode == 1
    assert "another process runs in" in refused.stderr
    for process in processes:
        process.send_signal(signal.SIGTERM)
        ended(process)
    same(made, tmp_path / "live")
    check_told(broker, topics, made)
