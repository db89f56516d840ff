"""A shard that is told nothing of other instruments says so, and says when it is told again; a quiet market says nothing."""

from __future__ import annotations

import itertools

from connectors.kafka.waiting import Waiting
from events.feeds import FEEDS
from events.frames import NO_ROWS, Frame, control
from events.schema import END, FOREVER, NEVER
from events.times import MINUTE_NS, SECOND_NS

KEY, OTHER = "x:A/B", "x:C/B"


class Shard:
    """Minutes of a market, each of which takes a minute."""

    def __init__(self):
        self.now_s, self.states = 0.0, []
        self.waiting = Waiting(["market.1m"], clock_s=lambda: self.now_s, clock_ns=itertools.count().__next__)

    def minutes(self, first, last, *frames, traded=(KEY,), told=()):
        for minute in range(first, last + 1):
            self.now_s = 60.0 * minute
            ts = minute * MINUTE_NS
            items = [(key, Frame(key, "trades", FEEDS["trades"].empty, ts)) for key in traded]
            items += [(key, Frame(key, "market.1m", NO_ROWS, ts)) for key in told]
            items += [(frame.instrument, frame) for frame in frames]
            out = self.waiting(items)
            assert out[: len(items)] == items
            self.states += [(minute, row.new, row.reason) for _, frame in out[len(items) :] for row in frame.rows]


def test_silence_is_told_once_and_its_end():
    shard = Shard()
    shard.minutes(1, 10, told=[KEY])
    shard.minutes(11, 20)
    shard.minutes(21, 30, told=[KEY])
    said = "nothing has come from flows.market for 180 s, and scores and signals wait for it; none of them is lost"
    assert shard.states == [(1, "up", None), (13, "degraded", said), (21, "up", None)]


def test_who_is_never_told_anything_waits():
    shard = Shard()
    shard.minutes(1, 5)
    assert [(minute, state) for minute, state, _ in shard.states] == [(1, "up"), (3, "degraded")]


def test_a_market_that_stands_still_waits_for_nobody():
    shard = Shard()
    shard.minutes(1, 5, told=[KEY])
    shard.minutes(6, 20, traded=())
    over = Frame(KEY, "trades", FEEDS["trades"].empty, 20 * MINUTE_NS, control(END, 20 * MINUTE_NS))
    shard.minutes(21, 22, over, traded=())
    assert shard.states == [(1, "up", None)]


def test_whom_nobody_is_compared_with_waits_for_nobody():
    """It is told so once; another one may wait all the same."""
    alone = Frame(KEY, "market.1m", NO_ROWS, FOREVER, control(END, NEVER))
    shard = Shard()
    shard.minutes(1, 1, alone)
    shard.minutes(2, 9)
    assert shard.states == [(1, "up", None)]
    shard.minutes(10, 10, traded=(KEY, OTHER))
    assert [state for _, state, _ in shard.states] == ["up", "degraded"]


def test_what_was_in_the_topics_is_read_without_an_alarm():
    shard = Shard()
    shard.now_s = 5.0
    hours = Frame(KEY, "trades", FEEDS["trades"].empty, 10_000 * SECOND_NS)
    assert [frame.name for _, frame in shard.waiting([(KEY, hours)])] == ["trades", "components"]
    assert shard.waiting([(KEY, hours)])[1:] == []
