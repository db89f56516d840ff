"""Announcements of writers: what readers make of them together, and what is refused."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from connectors.kafka.client import Connection
from connectors.kafka.universe import Announcement, announce, read_announcements, read_universe, together, withdraw
from connectors.tape import Universe
from events.errors import InputError, RunError
from events.identity import like

pytestmark = pytest.mark.slow

TOPIC = "t.universe"


def universe(*instruments, feeds=("trades",), **lacking):
    return Universe(instruments, frozenset(instruments[:1]), frozenset(feeds), lacking)


def said(writer, *instruments, run="5f1e", live=True, **more):
    return Announcement(writer, run, universe(*instruments, **more), live, "arrow", created_by="0.1")


BINANCE = said("binance", "binance:BTC/USDT", "binance:*", feeds=("trades", "preload", "book"))
KRAKEN = said("kraken", "kraken:BTC/USD", feeds=("trades", "ticker"))


@pytest.fixture
def connection(mock_broker):
    Producer({"bootstrap.servers": mock_broker}).list_topics(TOPIC, 30)  # makes it there
    return Connection(mock_broker)


def test_streams_of_another_writer_are_lacking_and_nobody_says_so():
    both = together([KRAKEN, BINANCE])
    assert both.universe.instruments == ("binance:BTC/USDT", "binance:*", "kraken:BTC/USD")
    assert both.universe.sequenced == {"binance:BTC/USDT", "kraken:BTC/USD"}
    assert both.universe.feeds == {"trades", "preload", "book", "ticker"}
    assert both.unsaid["kraken:BTC/USD"] == {"preload", "book"}
    assert both.unsaid["binance:*"] == both.unsaid["binance:BTC/USDT"] == {"ticker"}
    assert both.live


def test_what_a_writer_lacks_by_itself_it_says_by_itself():
    lacks = replace(KRAKEN, universe=replace(KRAKEN.universe, lacking={"kraken:BTC/USD": frozenset({"ticker"})}))
    both = together([BINANCE, lacks])
    assert both.universe.lacking["kraken:BTC/USD"] == {"ticker", "preload", "book"}
    assert both.unsaid["kraken:BTC/USD"] == {"preload", "book"}


@pytest.mark.parametrize("name", ["binance:BTC/USDT", "binance:ETH/USDT", "binance:*"])
def test_two_writers_of_an_instrument_are_refused(name):
    for writer in ("another", "more"):  # before and behind it in the order of names
        with pytest.raises(InputError, match="both write") as error:
            together([BINANCE, said(writer, name)])
        assert "binance" in str(error.value)
        assert writer in str(error.value)


def test_one_writer_may_have_an_instrument_and_all_that_are_like_it():
    assert like("binance:BTC/USDT") == "binance:*"
    assert together([BINANCE]).universe.instruments == BINANCE.universe.instruments
    assert together([BINANCE, said("futures", "binance:BTC/USDT:USDT")])


def test_exchanges_and_files_do_not_go_together():
    with pytest.raises(InputError, match="rules of lateness"):
        together([BINANCE, said("files-1", "aster:A/B", live=False)])


def test_instruments_may_come_and_go_of_several_writers_beside_some_that_stay():
    feeds = ("trades", "universe", "members")
    changing, second = said("binance", "binance:BTC/USDT", "binance:*", feeds=feeds), said("okx", "okx:*", feeds=feeds)
    every = together([changing, KRAKEN, second])
    assert every.unsaid == {name: {"ticker"} for name in (*changing.universe.instruments, "okx:*")}
    assert {"binance:*", "okx:*", "kraken:BTC/USD"} <= {*every.universe.instruments}


def test_what_is_announced_is_read_until_it_is_taken_back(connection):
    with pytest.raises(InputError, match="Start `tidewax ingest`"):
        read_universe(connection, TOPIC)
    announce(connection, TOPIC, KRAKEN)
    announce(connection, TOPIC, BINANCE)
    announce(connection, TOPIC, BINANCE)
    found = read_universe(connection, TOPIC)
    assert dict(found.writers) == {"binance": BINANCE, "kraken": KRAKEN}
    withdraw(connection, TOPIC, "kraken", "another")
    assert len(read_announcements(connection, TOPIC)) == 2
    withdraw(connection, TOPIC, "kraken", KRAKEN.run)
    assert read_announcements(connection, TOPIC) == (BINANCE,)


def test_a_run_may_change_what_it_announces_and_another_run_may_not(connection):
    announce(connection, TOPIC, BINANCE)
    newer = replace(BINANCE, created_by="0.2")
    announce(connection, TOPIC, newer)
    assert read_announcements(connection, TOPIC) == (newer,)
    with pytest.raises(RunError, match=r"another run \(5f1e\) has written as binance"):
        announce(connection, TOPIC, replace(BINANCE, run="77aa"))
    with pytest.raises(InputError, match="both write"):
        announce(connection, TOPIC, said("more", "binance:BTC/USDT"))
    assert read_announcements(connection, TOPIC) == (newer,)


def test_it_is_waited_for(connection):
    later = threading.Timer(1.0, announce, (connection, TOPIC, KRAKEN))
    later.start()
    try:
        assert dict(read_universe(connection, TOPIC, 60.0).writers) == {"kraken": KRAKEN}
    finally:
        later.join()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema_v": 99}, "schema version 99"),
        ({"feeds": ["trades", "weather"]}, r"does not know \(weather\)"),
        ({"wire": None, "run": None, "instruments": 7}, "no announcement"),
    ],
)
def test_other_versions_and_other_messages_are_refused(connection, change, match):
    value = json.dumps({**json.loads(KRAKEN.to_json()), **change})
    producer = Producer({"bootstrap.servers": connection.servers})
    producer.produce(TOPIC, value.encode(), b"kraken", partition=0)
    assert producer.flush(30) == 0
    with pytest.raises(InputError, match=match):
        read_universe(connection, TOPIC)
