"""States of a feed and its instruments, and voids: by what a feed knows, at times of a clock that the test turns."""

from __future__ import annotations

import pytest

from connectors.exchange import Health, Options, Standing, voids
from connectors.exchange.feed import Feed
from connectors.exchange.health import NOT_YET
from connectors.exchange.instrument import Instrument
from connectors.exchange.sequencer import Sequencer
from events.errors import InputError
from events.identity import id_hash
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS

KEY = "kraken:BTC/USD"
T = 1_750_000_080 * SECOND_NS


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    @property
    def ns(self):
        return T + round(self.seconds * SECOND_NS)


@pytest.fixture
def feed():
    feed = Feed("kraken", ["BTC/USD"], {}, Options())
    feed._beacons = [NEVER, NEVER]
    return feed


@pytest.fixture
def clock():
    return Clock()


def told(health, clock, seconds):
    """What is said when it is so late: (key, old, new, reason)."""
    clock.seconds = seconds
    records = [record for _, frame in health.look(clock.ns) for record in frame.rows]
    assert all(record.component == "exchange.kraken" for record in records)
    return [(record.key, record.old, record.new, record.reason) for record in records]


def connected(feed, clock):
    feed.broken[0] = (clock.ns, NOT_YET)
    feed.connected_ns = clock.ns + 1
    feed._beacons[0] = clock.ns + 2


def test_a_feed_starts_comes_up_loses_its_connection_is_down_and_comes_back(feed, clock):
    health = Health(feed, clock)
    assert told(health, clock, 0) == [("*", "stopped", "starting", NOT_YET)]
    assert told(health, clock, 1) == []
    connected(feed, clock)
    assert told(health, clock, 2) == [("*", "starting", "up", None)]
    feed.broken[0] = (clock.ns, "connection lost: 503")
    assert told(health, clock, 3) == [("*", "up", "degraded", "connection lost: 503")]
    assert told(health, clock, 61) == []
    said = "nothing was pushed for 60 s: connection lost: 503"
    assert told(health, clock, 61.5) == [("*", "degraded", "down", said)]
    feed._beacons[0] = clock.ns  # pushed again
    assert told(health, clock, 62) == [("*", "down", "up", None)]
    clock.seconds = 63
    ((_, frame),) = health.stop(clock.ns)
    assert (frame.rows[0].old, frame.rows[0].new, frame.rows[0].ts) == ("up", "stopped", clock.ns)


def test_a_feed_that_never_connects_is_down_whatever_the_exchanges_clock_says(feed, clock):
    health = Health(feed, clock)
    told(health, clock, 0)
    clock.seconds = 10
    assert health.look(clock.ns + 3_600 * SECOND_NS) == []  # the offset became known
    assert [state for _, _, state, _ in told(health, clock, 61)] == ["down"]


def test_what_ended_a_feed_is_the_reason_at_once(feed, clock):
    health = Health(feed, clock)
    told(health, clock, 0)
    feed.error = InputError("kraken has no market NO/SUCH")
    assert told(health, clock, 1) == [("*", "starting", "down", "kraken has no market NO/SUCH")]
    assert told(health, clock, 100) == []


def instrument():
    one = Instrument("BTC/USD", KEY, lambda *_: None)
    one.order = Sequencer(KEY, print, print)
    return one


def test_a_quiet_feed_is_up_as_long_as_rest_knows_of_no_trade_that_was_not_pushed(feed, clock):
    one = feed.instruments["BTC/USD"] = instrument()
    health = Health(feed, clock)
    feed.broken[0] = (clock.ns, NOT_YET)
    clock.seconds = 1
    feed.connected_ns = clock.ns
    feed._mend()
    assert told(health, clock, 1)[0][2] == "starting"
    one.quiet_ns = clock.ns + 1
    feed._mend()
    assert told(health, clock, 2) == [("*", "starting", "up", None)]
    assert told(health, clock, 600) == []


def test_an_instrument_is_degraded_when_too_little_is_known_of_it_while_its_feed_is_up(feed, clock):
    one = feed.instruments["BTC/USD"] = instrument()
    one.order.resume(7, T)
    connected(feed, clock)
    health = Health(feed, clock)
    assert told(health, clock, 0) == [("*", "stopped", "up", None)]
    assert told(health, clock, 179) == []
    (said,) = told(health, clock, 181)
    assert said == (KEY, "up", "degraded", "its trades are known up to 2025-06-15T15:08:00Z only")
    assert health.degraded == {KEY}
    one.promised_ns = clock.ns
    assert told(health, clock, 182) == [(KEY, "degraded", "up", None)]
    assert health.degraded == set()


def test_no_two_rows_have_one_id_even_where_the_clock_stands(feed, clock):
    health, ids = Health(feed, clock), []
    for _ in range(3):
        feed.broken.clear()
        feed.connected_ns = NEVER
        rows = health.look(T)
        connected(feed, clock)
        rows += health.look(T)
        ids += [record.record_id for _, frame in rows for record in frame.rows]
    assert len(ids) == len(set(ids)) >= 3


def spans(standings, boundary_ns):
    """What is said at a boundary, and taken note of."""
    found = voids(standings, standings, boundary_ns)
    for key, frame in found:
        standings[key].passed(frame)
        assert frame.watermark == NEVER
        assert frame.control["id_from"].tolist() == [id_hash(key)]
    return {key: frame.control[["since", "until"]].tolist() for key, frame in found}


def test_a_void_goes_from_what_is_known_or_was_said_to_the_boundary_and_is_said_once():
    standings = {
        KEY: Standing(watermark_ns=T - 7),
        "kraken:ETH/USD": Standing(watermark_ns=T),
        "kraken:A/B": Standing(),
    }
    assert spans(standings, T) == {KEY: [(T - 7, T)], "kraken:A/B": [(0, T)]}
    assert spans(standings, T) == {}
    later = T + MINUTE_NS
    standings["kraken:ETH/USD"].watermark_ns = later + 1
    standings["kraken:A/B"].watermark_ns = later
    assert spans(standings, later) == {KEY: [(T + 1, later)]}
    standings[KEY].watermark_ns = later + 30  # the proof returns, and is lost again
    assert spans(standings, later + MINUTE_NS)[KEY] == [(later + 30, later + MINUTE_NS)]
    assert standings[KEY].voids == 3
