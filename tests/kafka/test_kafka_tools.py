"""What other programs see of a deployment: Kafka's own tools the lag of a live run, kcat its signals as JSON."""

from __future__ import annotations

import json
import subprocess

import pytest
from commands import command
from ingest_bench import killed
from shards_bench import KEYS, SHARDS, ingested, make_topics, messages_of, settings, write_market

from connectors.kafka.names import shard_of
from events.records import Signal
from flows.report_runs import FinishedRun
from flows.rundir import directories_of

pytestmark = pytest.mark.slow


def lag_of(broker, group: str, topic: str) -> dict[int, tuple[int, int, int]]:
    """By partition, what kafka-consumer-groups shows: the offset of the group, that of the end, and the lag."""
    lines = [line.split() for line in broker.tool("kafka-consumer-groups", "--describe", "--group", group).splitlines()]
    names = next(words for words in lines if "LAG" in words)
    shown = [dict(zip(names, words)) for words in lines if words[1:2] == [topic]]
    columns = ("CURRENT-OFFSET", "LOG-END-OFFSET", "LAG")
    return {int(of["PARTITION"]): tuple(int(of[name]) for name in columns) for of in shown}


def ends_of(broker, topic: str) -> dict[int, int]:
    """By partition, how many messages a topic has; partitions without any are left out."""
    found: dict[int, int] = {}
    for message in messages_of(broker, topic):
        found[message.partition()] = found.get(message.partition(), 0) + 1
    return found


def lived(config, out) -> None:
    """A live run of all that is in the topics."""
    done = command("live", "--config", config, "--out", out, "--until-end")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_tool_of_kafka_shows_how_far_a_live_run_is_behind(broker, prefix, tmp_path):
    topics = make_topics(broker, prefix.rstrip("."))
    config = settings(tmp_path, broker.bootstrap, topics.prefix)
    ingest = (write_market(tmp_path, 0.1), "--out", tmp_path / "ingest", "--config", config)
    killed("sent", 10, *ingest)
    half = ends_of(broker, topics.market)
    lived(config, tmp_path / "live")
    assert lag_of(broker, topics.prefix, topics.market) == {number: (n, n, 0) for number, n in half.items()}
    done = command("ingest", *ingest)
    assert (done.returncode, done.stderr) == (0, "")
    whole = ends_of(broker, topics.market)
    assert all(whole[number] > n for number, n in half.items())
    behind = {number: (n, whole[number], whole[number] - n) for number, n in half.items()}
    assert lag_of(broker, topics.prefix, topics.market) == behind
    lived(config, tmp_path / "live")
    assert lag_of(broker, topics.prefix, topics.market) == {number: (n, n, 0) for number, n in whole.items()}


def test_kcat_reads_signals_as_json(broker, kcat, prefix, tmp_path):
    topics = make_topics(broker, prefix.rstrip("."))
    config = settings(tmp_path, broker.bootstrap, topics.prefix)
    ingested(write_market(tmp_path), tmp_path / "ingest", config)
    lived(config, tmp_path / "live")
    line = [kcat, "-q", "-b", broker.bootstrap, "-C", "-t", topics.result("signals"), "-o", "beginning", "-e", "-J"]
    read = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    messages = [json.loads(text) for text in read.stdout.splitlines()]
    made = {
        signal.signal_id: (signal, shard_of(key, SHARDS))
        for directory in directories_of(tmp_path / "live")
        for key in KEYS
        for signal in FinishedRun(directory).records(Signal, key)
    }
    assert made
    assert len(messages) == len(made), "each is there once"
    for message in messages:
        told = json.loads(message["payload"])
        signal, shard = made[told["signal_id"]]
        assert message["payload"] == signal.canonical()
        assert (message["key"], message["partition"]) == (signal.key, shard)
        assert dict(zip(message["headers"][::2], message["headers"][1::2])) == {
            "stream": "signals",
            "id": signal.signal_id,
        }
        assert (told["side"], told["score"], told["stop"]) == (signal.side, signal.score, signal.stop)
