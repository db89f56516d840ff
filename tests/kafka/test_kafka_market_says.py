"""What `flows.market` reads, and what it says where there is nothing to compare or a topic is missing."""

from __future__ import annotations

import threading

import pytest
from shards_bench import make_topics

from config import Settings
from connectors.kafka.client import Connection
from connectors.kafka.names import shard_of
from connectors.kafka.universe import Announcement, announce
from connectors.tape import Universe
from events.errors import InputError, SettingsError
from flows.following import Following
from flows.kafka_run import KafkaRun, kafka_inputs
from flows.market import MarketRun
from flows.plan import plan_of_inputs
from flows.rundir import RunDirectory
from operators.market import AVERAGED

pytestmark = pytest.mark.kafka
SHARDS = 3
BTC, OTHERS = "binance:BTC/USDT", tuple(f"binance:{base}/USDT" for base in ("ETH", "SOL", "ADA", "XRP"))


@pytest.fixture
def deployed(broker, prefix, tmp_path):
    """Makes topics with an announcement of instruments; gives what is read of them, and a locked directory."""
    directories = []

    def deploy(*instruments, feeds=("trades",), together=True, **kafka):
        name = prefix.rstrip(".")
        topics = make_topics(broker, name, SHARDS)
        if together:
            broker.create(topics.result("global"), 1)
        universe = Universe(instruments, frozenset(), frozenset(feeds))
        announce(Connection(broker.bootstrap), topics.universe, Announcement("test", "a1", universe, True, "arrow"))
        given = {"servers": broker.bootstrap, "prefix": name, "group": name, **kafka}
        settings = Settings.model_validate({"kafka": given})
        directories.append(RunDirectory(tmp_path / "market"))
        return settings, kafka_inputs(settings), directories[-1]

    yield deploy
    for directory in directories:
        directory.__exit__()


def test_it_reads_bars_and_averages_of_all_shards_and_nothing_else(deployed):
    settings, inputs, directory = deployed(BTC, *OTHERS)
    run = MarketRun(settings, inputs, directory, store=None)
    readings = run.source().readings
    assert set(readings) == {"bars", "features"}
    assert list(readings["bars"].streams) == [f"bars.{name}" for name, _ in run.plan.timeframes]
    assert list(readings["features"].streams) == [AVERAGED]
    assert all(one.partitions == (0, 1, 2) and one.others for one in readings.values())
    assert run.sink().list_parts() == ["000", "001", "002"]
    assert list(run.streams) == ["global.1m", "components", "dead_letters"]


def test_who_takes_part_is_read_where_it_is_said(deployed):
    settings, inputs, directory = deployed(BTC, "binance:*", "okx:*", feeds=("trades", "universe", "members"))
    run = MarketRun(settings, inputs, directory, store=None)
    members = run.source().readings["market"]
    assert list(members.streams) == ["members"]
    assert set(members.partitions) == {shard_of(name, SHARDS) for name in ("binance:*", "okx:*")}


def test_shards_are_told_what_it_tells_and_have_the_same_analysis(deployed):
    settings, inputs, directory = deployed(BTC, *OTHERS)
    run, shard = MarketRun(settings, inputs, directory, store=None), plan_of_inputs(settings, inputs.only([1]))
    assert (run.plan.cross.where, shard.cross.where) == ("here", "apart")
    assert run.plan.analysis_hash == shard.analysis_hash
    assert list(inputs.only([1]).source(shard.cross.told).readings["cross"].streams) == list(run.plan.cross.told)
    assert "global.1m" not in shard.streams


@pytest.mark.parametrize(
    ("instruments", "kafka", "said"),
    [
        (OTHERS, {}, "there is nothing to compare: binance:BTC/USDT .* is not among the instruments, .* at least 5"),
        ((BTC, *OTHERS), {"market": False}, "kafka.market is false"),
        ((BTC, *OTHERS), {"results": ["signals", "bars"]}, "kafka.results lacks features, of which `tidewax market`"),
        ((BTC, OTHERS[0]), {"results": ["signals"]}, "kafka.results lacks bars, of which `tidewax market`"),
    ],
)
def test_where_there_is_nothing_to_compare(deployed, instruments, kafka, said):
    settings, inputs, directory = deployed(*instruments, **kafka)
    with pytest.raises(SettingsError, match=said):
        MarketRun(settings, inputs, directory, store=None)
    if "lacks" in said:  # a shard would wait for ever
        mine = inputs.only([0])
        plan = plan_of_inputs(settings, mine)
        with pytest.raises(SettingsError, match=said):
            KafkaRun(settings, mine, directory, plan, Following(mine), threading.Event(), [], store=None)


def test_a_topic_that_is_missing_is_named(deployed):
    settings, inputs, directory = deployed(BTC, *OTHERS, together=False)
    run = MarketRun(settings, inputs, directory, store=None)
    with pytest.raises(InputError, match=r"\.global.*tidewax topics create"):
        run.sink()
