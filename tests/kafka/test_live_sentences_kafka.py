"""What `tidewax live` says where it cannot run on Kafka: a sentence that names what is wrong, soon, exit code 1."""

from __future__ import annotations

import pytest
from broker import free_port
from commands import called
from shards_bench import SHARDS, make_topics, settings

from connectors.kafka.client import Connection
from connectors.kafka.names import Topics
from connectors.kafka.universe import Announcement, announce
from connectors.tape import Universe
from flows.rundir import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.kafka]
SPOT, SWAP = "binance:BTC/USDT", "binance:BTC/USDT:USDT"


@pytest.fixture
def config(broker, prefix, tmp_path):
    """A settings file of a deployment of which two instruments are announced."""
    topics = make_topics(broker, prefix.rstrip("."))
    universe = Universe((SPOT, SWAP), frozenset(), frozenset({"trades", "funding"}))
    announce(Connection(broker.bootstrap), topics.universe, Announcement("test", "1", universe, True, "arrow"))
    return settings(tmp_path, broker.bootstrap, topics.prefix)


def said(config, *arguments, out=None):
    """The sentence of a run that comes to nothing."""
    out = out or config.parent / "live"
    done = called("live", *arguments, "--config", config, "--out", out)
    assert done.returncode == 1
    assert done.stderr.startswith("tidewax: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_where_brokers_or_topics_are_missing(broker, prefix, tmp_path):
    port = free_port()
    nowhere = settings(tmp_path, f"127.0.0.1:{port}", "none")
    assert f"Kafka at 127.0.0.1:{port} cannot be reached" in said(nowhere)
    absent = settings(tmp_path, broker.bootstrap, prefix.rstrip("."))
    assert f"has no topic {prefix}market. Make it with `tidewax topics create --apply`" in said(absent)
    assert not (tmp_path / "live").exists()


def test_where_nobody_has_announced_anything(broker, prefix, tmp_path):
    make_topics(broker, prefix.rstrip("."))
    config = settings(tmp_path, broker.bootstrap, prefix.rstrip("."))
    assert "Start `tidewax ingest`" in said(config)


def test_where_shards_are_not_what_there_is(config, tmp_path):
    assert f"there is no shard {SHARDS}: " in said(config, "--shard", f"0,{SHARDS}")
    assert "--shard is 'x', it must be numbers such as 0,1,4" in said(config, "--shard", "x")
    assert "run.workers is 2, and 2 shards are to run in this process" in said(config, "--shard", "0,1", "--workers", 2)
    assert "name no instruments, or set kafka.source to exchange" in said(config, SPOT)
    text = config.read_text()
    config.write_text(f"{text}indicators: {{sentiment: {{link: {{'{SPOT}': '{SWAP}'}}}}}}\n")
    assert f"gives {SPOT} streams of {SWAP}, but they are in shards" in said(config)


def test_where_the_directory_is_of_something_else(config, tmp_path):
    with RunDirectory(tmp_path / "other") as directory:
        directory.write({"state": "stopped", "kind": "analysis"})
    assert "holds a run that is not in shards" in said(config, out=tmp_path / "other")
    with RunDirectory(tmp_path / "live" / "shard-02"):
        assert "another process runs in" in said(config)


def test_where_topics_of_results_have_other_partitions(broker, prefix, tmp_path):
    topics = Topics(prefix.rstrip("."))
    for topic, shards in ((topics.market, 3), (topics.result("bars"), 2), (topics.latest("bars"), 2)):
        broker.create(topic, shards)
    config = settings(tmp_path, broker.bootstrap, topics.prefix, results=("bars",))
    config.write_text(config.read_text().replace("market: false", f"market: false, instruments: [{SPOT!r}]"))
    assert f"the topics of results have 2 partitions, and {topics.market} has 3" in said(config)
