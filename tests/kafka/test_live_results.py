"""`tidewax live` on exchanges, its results in Kafka: each row once, whenever it was killed."""

from __future__ import annotations

import random
import signal
import time

import pytest
from commands import start, start_killed
from shards_bench import WITHIN_S, check_results, make_topics, messages_of, told

from connectors.simulator.exchange import Exchange

SETTINGS = """
exchange: {{symbols: {{binance: [BTC/USDT, ETH/USDT]}}, addresses: {{binance: "{address}"}}, preload: 60, reconcile: 0}}
bars: {{time: [1m, 5m]}}
confluence: {{theta: 5.0, blend: {{1m: 0.7, 5m: 0.3}}}}
signals: {{tf: 1m}}
run: {{epoch_s: 0.2, status_s: 0}}
kafka: {{servers: "{servers}", prefix: "{prefix}", group: "{prefix}", source: exchange}}
"""
pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def test_results_of_a_run_on_exchanges_are_in_kafka_once(broker, prefix, tmp_path):
    topics, config, run, r = (
        make_topics(broker, prefix.rstrip(".")),
        tmp_path / "live.yaml",
        tmp_path / "run",
        random.Random(3),
    )
    with Exchange(("binance:BTC/USDT", "binance:ETH/USDT"), seed=5, speed=20, activity=2, history_days=1) as exchange:
        address = exchange.url.removeprefix("http://")
        config.write_text(SETTINGS.format(address=address, servers=broker.bootstrap, prefix=topics.prefix))
        live = ("live", "--config", config, "--out", run)
        for rows in (r.randrange(20, 500), r.randrange(2, 12)):
            killed = start_killed(signal.SIGKILL, rows, *live, soon=rows, delay_s=0.3 * r.random())
            out, err = killed.communicate(timeout=WITHIN_S)
            assert killed.returncode == -signal.SIGKILL, out + err
        last, before = start(*live), len(messages_of(broker, topics.result("bars")))
        ends = time.monotonic() + WITHIN_S
        while len(messages_of(broker, topics.result("bars"))) < before + 8:
            assert last.poll() is None, last.communicate()
            assert time.monotonic() < ends, "no more bars"
            time.sleep(0.3)
        last.send_signal(signal.SIGTERM)
        out, err = last.communicate(timeout=WITHIN_S)
        assert (last.returncode, err) == (0, ""), out
    assert told(run)["state"] == "stopped"
    assert sum(told(run)["rows"]["confluence"].values()) > 5
    check_results(broker, topics, run)
