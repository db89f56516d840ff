"""A local exchange -> ingest -> Kafka -> shards in two processes and what compares them -> Kafka and tables, with every process
killed amid its work, and the broker started again: the same as a replay of what the exchange sent.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress

import pytest
from commands import called, command, start, start_killed
from ingest_bench import differing, killed, of_tape, of_topic
from shards_bench import SHARDS, WITHIN_S, check_results, make_topics, told
from soak_rows import keep

from connectors.kafka.names import shard_of
from connectors.simulator.exchange import Exchange
from flows.rundir import MARKET, shard_directory
from flows.verify import verify

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
INSTRUMENTS = ("binance:BTC/USDT", "binance:ETH/USDT", "binance:SOL/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD")
SETTINGS = """
exchange:
  symbols: {{binance: [BTC/USDT, ETH/USDT, SOL/USDT, "BTC/USDT:USDT"], kraken: [BTC/USD]}}
  feeds: [trades, ticker, funding]
  addresses: {{binance: "{address}", kraken: "{address}"}}
  preload: 200
bars: {{time: [1m, 5m]}}
confluence: {{blend: {{1m: 0.7, 5m: 0.3}}}}
signals: {{tf: 1m, rule: dice}}
plugins: {{files: [dice.py]}}
dimensions: {{weights: {{bitcoin_beta: 0.2}}}}
run: {{epoch_s: 0.2, status_s: 0}}
kafka: {{servers: "{servers}", prefix: "{prefix}", group: "{prefix}"}}
"""
RULE = """
import numpy as np
from tidewax import rule

@rule(needs=("close",))
def dice(close):
    return np.round(close * 100.0) % 3 - 1  # there are signals whatever the market does
"""
pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def ended(process, code=0):
    """What a process has printed, once it has ended as it should."""
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == code, out + err
    return out


def writer(folder, *arguments):
    """An ingest that has begun to record; its first questions are not asked while others are being started."""
    tape = folder / "ingest" / "tape"
    process, before, ends = start("ingest", *arguments), bytes_of(tape), time.monotonic() + WITHIN_S
    while bytes_of(tape) == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "nothing is recorded"
        time.sleep(0.1)
    return process


def bytes_of(tape):
    return sum(file.stat().st_size for file in tape.glob("*.tape"))


def bars_of(live) -> Counter:
    """Base bars that the tables of the shards show, by instrument."""
    found: Counter = Counter()
    for number in range(SHARDS):
        file = shard_directory(live, number) / "tidewax.sqlite"
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            found.update(dict(db.execute("SELECT key, count(*) FROM bars_1m GROUP BY key").fetchall()))
    return found


def until_grown(live, processes, bars):
    """Wait until so many bars more of each instrument are visible."""
    before, ends = bars_of(live), time.monotonic() + 2 * WITHIN_S
    while any(bars_of(live)[key] < before[key] + bars for key in INSTRUMENTS):
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, bars_of(live)
        time.sleep(0.3)


def test_all_of_it_is_once_and_the_same_whatever_is_killed(tmp_path, own_broker, prefix):
    broker, began_s = own_broker, time.monotonic()
    topics = make_topics(broker, prefix.rstrip("."))
    broker.create(topics.result("global"), 1)
    r, kills, config = random.Random(7), 21 if SOAK else 3, tmp_path / "live.yaml"
    assert len({shard_of(key, SHARDS) for key in INSTRUMENTS}) >= SHARDS - 1, "any two shards have an instrument"
    halves = ["0,2", "1,3"]
    at = ("--config", config, "--out", tmp_path / "live")
    with Exchange(INSTRUMENTS, seed=5, speed=6, activity=5, history_days=1.2) as exchange:
        address = exchange.url.removeprefix("http://")
        (tmp_path / "dice.py").write_text(RULE)
        config.write_text(SETTINGS.format(address=address, servers=broker.bootstrap, prefix=topics.prefix))
        ingest = ("--config", config, "--out", tmp_path / "ingest")
        first = killed("queued", r.randrange(30, 200), *ingest)
        assert first.returncode == -signal.SIGKILL, first.stdout + first.stderr
        most = 3_000  # rows of the history that each instrument begins with; later on there are only those that are new
        for _ in range(kills - 1):
            writing, dying = writer(tmp_path, *ingest), []
            comparing = start("market", *at)
            for shards in halves:
                rows = r.randrange(most // 10, most)
                soon, delay_s = r.randint(1, rows), 0.3 * r.random()
                live = ("live", *at, "--shard", shards)
                dying.append(start_killed(signal.SIGKILL, rows, *live, soon=soon, delay_s=delay_s))
            for process in dying:
                ended(process, -signal.SIGKILL)
            for process in (comparing, writing):
                process.kill()
                ended(process, -signal.SIGKILL)
            most = 30
            r.shuffle(numbers := list(range(SHARDS)))
            halves = [",".join(map(str, numbers[:2])), ",".join(map(str, numbers[2:]))]
        writing = writer(tmp_path, *ingest)
        processes = [writing, *(start("live", *at, "--shard", shards) for shards in halves), start("market", *at)]
        until_grown(tmp_path / "live", processes, 2)  # all of them do their work, and ride through what follows
        broker.stop()
        broker.start()
        if SOAK:
            broker.pause()
            time.sleep(30)
            broker.resume()
        until_grown(tmp_path / "live", processes, 8)
        refused = command("live", *at, "--shard", halves[0])
        assert "another process runs in" in refused.stderr
        for process in processes:
            process.send_signal(signal.SIGTERM)
            ended(process)
    for name in ("live", "market", "live"):  # what was on its way when all were stopped
        ended(start(name, *at, "--until-end"))
    assert not differing(of_tape(tmp_path / "ingest" / "tape"), of_topic(broker.bootstrap, topics.prefix))
    again = called("replay", tmp_path / "ingest" / "tape", "--config", config, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    verdict = verify(tmp_path / "live", tmp_path / "again")
    assert verdict.differences == []
    rows = told(tmp_path / "again")["rows"]
    assert rows["global.1m"]["GLOBAL"] > 20
    assert told(tmp_path / "live" / MARKET)["rows"]["global.1m"] == rows["global.1m"]
    assert {*rows["beta.1m"]} >= {*INSTRUMENTS}
    assert {*rows["micro.1m"]} == {*INSTRUMENTS}
    assert sum(rows["signals"].values()) > 0
    check_results(broker, topics, tmp_path / "live")
    trades = sum(rows["trades"] for rows in told(tmp_path / "ingest")["rows"].values())
    assert trades > 0
    row = {"trades": trades, "rows": verdict.rows, "different": len(verdict.differences)}
    keep("kafka", f"{kills - 1} kills of each", 7, row | {"seconds": time.monotonic() - began_s})
