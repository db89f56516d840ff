"""What tests of live runs on Kafka share: trades of several instruments, their backtest, topics, and what results stand in them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from broker import Broker
from commands import command
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from config.kafka_section import KINDS
from connectors.kafka.names import Topics, shard_of
from connectors.kafka.routes import has_latest, kind_of
from connectors.kafka.wire import position_of
from connectors.simulator import Market, write_trades
from events.streams import Records
from flows.plan import plan_of_run
from flows.rundir import directories_of

SHARDS = 4
KEYS = tuple(f"synthetic:{base}/USDT" for base in ("BTC", "ETH", "SOL", "ADA"))
DAY = 1_700_006_400_000_000_000  # a UTC midnight
SETTINGS = """
bars: {{time: [1m, 5m]}}
confluence: {{theta: 10.0, blend: {{1m: 0.7, 5m: 0.3}}}}
signals: {{tf: 1m}}
run: {{epoch_s: 0, chunk: 200, status_s: 0}}
kafka: {{servers: "{servers}", prefix: "{prefix}", group: "{prefix}", wire: {wire}, market: false, results: [{results}]}}
dimensions: {{disabled: [bitcoin_beta]}}
"""
WITHIN_S = 120.0


def told(out: Path) -> dict:
    """What run.json says."""
    return json.loads((out / "run.json").read_text())


def settings(folder: Path, servers: str, prefix: str, wire: str = "arrow", results: tuple[str, ...] = KINDS) -> Path:
    """A settings file."""
    path = folder / "live.yaml"
    path.write_text(SETTINGS.format(servers=servers, prefix=prefix, wire=wire, results=", ".join(results)))
    return path


def write_market(folder: Path, days: float = 0.25, keys: tuple[str, ...] = KEYS) -> Path:
    """A file of trades of some instruments."""
    markets = [Market(key, 10.0 * 7**k, seed=k, trades_per_minute=8.0) for k, key in enumerate(keys)]
    write_trades(folder / "trades.parquet", markets, DAY, days)
    return folder / "trades.parquet"


def make_topics(broker: Broker, prefix: str, shards: int = SHARDS) -> Topics:
    """All topics of a deployment."""
    topics = Topics(prefix)
    broker.create(topics.universe, 1, cleanup_policy="compact")
    for topic in (topics.market, topics.cross, *map(topics.result, KINDS)):
        broker.create(topic, shards)
    for kind in filter(has_latest, KINDS):
        broker.create(topics.latest(kind), shards, cleanup_policy="compact")
    return topics


def ingested(file: Path, out: Path, config: Path) -> None:
    """Write a file to the market topic."""
    done = command("ingest", file, "--out", out, "--config", config)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def messages_of(broker: Broker, topic: str):
    """All messages of a topic, partition by partition, in their order."""
    reader = Consumer({**broker.client(), "group.id": f"{topic}.test", "enable.partition.eof": True})
    found = []
    try:
        for number in reader.list_topics(topic, timeout=WITHIN_S).topics[topic].partitions:
            reader.assign([TopicPartition(topic, number, 0)])
            ended = False
            while not ended:
                for message in reader.consume(500, 0.2):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended = True
                    else:
                        raise KafkaException(error)
    finally:
        reader.close()
    return found


def check_results(broker: Broker, topics: Topics, run: Path) -> None:
    """Hold the topics of results against a run: every row is there once and in order, in the partition of its shard."""
    runs = [told(directory) for directory in directories_of(run)]
    streams = plan_of_run(runs[0]).streams
    expected = Counter()
    for one in runs:
        for name, rows in one["rows"].items():
            if kind_of(name) is not None:
                expected.update({(key, name): n for key, n in rows.items() if n})
    found, ids = Counter(), set()
    for kind in KINDS:
        for message in messages_of(broker, topics.result(kind)):
            key, position = message.key().decode(), position_of(message.headers())
            at = key, position.stream
            assert message.partition() == shard_of(key, SHARDS)
            if isinstance(streams[position.stream], Records):
                assert position.id not in ids
                ids.add(position.id)
            elif position.rows:
                assert position.first == found[at], at
            found[at] += position.rows
    assert {at: n for at, n in found.items() if n} == dict(expected)
