"""An instrument that leaves the universe and joins it again: what is open ends, all that is known of it goes, it begins anew."""

from __future__ import annotations

import pytest
from lab import ALL, END_OF_TIME, START, deliver, digest, run, trades
from test_graph import SETTINGS, crashing, graph

from events.frames import NO_ROWS, Frame, concat, control
from events.schema import LEAVE
from events.times import MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

KEY = "lab:BUSY"
ROWS = trades(12_000, 11)
LEAVES = START // MINUTE_NS * MINUTE_NS + 200 * MINUTE_NS + 7 * SECOND_NS
JOINS = LEAVES + 40 * MINUTE_NS
BEFORE, AFTER = ROWS[ROWS["available_at"] < LEAVES], ROWS[ROWS["available_at"] >= JOINS]


def leaving(ts=LEAVES):
    return Frame(KEY, "trades", NO_ROWS, ts + 1, control(LEAVE, ts, ts))


def arrive(chunk=ALL, lag=0, beats=False):
    first = deliver({"trades": BEFORE}, chunk, lag, beats, end=LEAVES, key=KEY)
    return [*first, leaving(), *deliver({"trades": AFTER}, chunk, lag, beats, end=END_OF_TIME, key=KEY)]


@pytest.fixture(scope="module")
def whole():
    return run(graph, {KEY: arrive()})[KEY]


def test_what_is_open_ends_and_what_comes_later_begins_anew(whole):
    stays = run(graph, {KEY: deliver({"trades": BEFORE}, ALL, end=LEAVES, key=KEY)})[KEY]
    anew = run(graph, {KEY: deliver({"trades": AFTER}, ALL, key=KEY)})[KEY]
    for name in ("bars.1m", "bars.5m", "features.1m", "features.30m", "confluence"):
        assert len(anew[name]) > 5, "the laws would hold over nothing"
        parts = [streams[name] for streams in (stays, anew) if name in streams]
        assert digest({name: whole[name]}) == digest({name: concat(parts)}), name
    n = len(stays["updates"])
    last, price = int(stays["bars.1m"]["ts_close"][-1]), float(stays["bars.1m"]["close"][-1])
    left = whole["updates"][n]
    assert stays["updates"][-1].to == "ACTIVE", "nothing was open"
    assert (left.to, left.reason, left.ts, left.price) == ("CLOSED", "universe", last, price)
    assert whole["outcomes"][len(stays["outcomes"])].exit_reason == "universe"
    assert digest({"updates": whole["updates"][n + 1 :]}) == digest({"updates": anew["updates"]})
    assert [(count.ts, count.received) for count in whole["counts"]] == [(LEAVES, len(BEFORE))]


@pytest.mark.parametrize(
    ("chunk", "lag", "beats", "per"), [(1, 0, False, 10_000), (7, 2 * SECOND_NS, True, 3), (501, 0, False, 1)]
)
def test_any_delivery(whole, chunk, lag, beats, per):
    assert digest(run(graph, {KEY: arrive(chunk, lag, beats)}, per=per)[KEY]) == digest(whole)


def test_a_pending_signal_is_cancelled():
    plan, out = Plan(SETTINGS), None
    stays = run(lambda market: build(market, plan), {KEY: deliver({"trades": ROWS}, ALL, key=KEY)})[KEY]
    ts = stays["signals"][2].ts
    rows = ROWS[ROWS["available_at"] < ts]
    out = run(graph, {KEY: [*deliver({"trades": rows}, ALL, end=ts, key=KEY), leaving(ts)]})[KEY]
    assert [(u.to, u.reason, u.ts) for u in out["updates"][-2:]] == [
        ("PENDING", "new", ts),
        ("CANCELLED", "universe", ts),
    ]


@pytest.mark.slow
def test_a_crash_changes_nothing(whole):
    got, crashes = crashing(graph, {KEY: arrive(101, 2 * SECOND_NS, True)})
    assert crashes > 3
    assert digest(got[KEY]) == digest(whole)
