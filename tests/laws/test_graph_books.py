"""Books and trades in one step, in the engine: what is made of each is the same however the other comes; gaps are told."""

from __future__ import annotations

import numpy as np
import pytest
from beside import book
from lab import ALL, END_OF_TIME, Frame, deliver, digest, drive, run, trades
from test_graph import SETTINGS, crashing

from events.feeds import BOOKS, TRADES
from events.schema import BOOK_SEQUENCE, NEVER
from events.times import SECOND_NS
from flows.graph import enter
from flows.plan import Plan
from operators.microstructure.book import BookMinutes

KEY = "lab:BUSY"
TICKS = trades(3_000, 11)
UPDATES = book(1_500, 12, 8 * SECOND_NS, skips=0.01, crossed=0.01)
PLAN = Plan(SETTINGS, feeds=frozenset({TRADES, BOOKS}))


def graph(market):
    return enter(market, PLAN)


def books(per, lag_ns=0):
    """The book, so many whole updates a frame."""
    ends = np.flatnonzero(UPDATES["last"])[per - 1 :: per] + 1
    out = []
    for part in np.split(UPDATES, ends[ends < len(UPDATES)]):
        now = int(part["available_at"][-1])
        out.append((now, Frame(KEY, BOOKS, part, now - lag_ns)))
    return [*out, (END_OF_TIME, Frame(KEY, BOOKS, UPDATES[:0], END_OF_TIME))]


def arrive(chunk=ALL, per=ALL, lag_ns=0, trailing=False):
    """Trades and books by time, or the books wholly after the trades."""
    ticks = [
        (int(frame.rows["available_at"][-1]) if len(frame.rows) else END_OF_TIME, frame)
        for frame in deliver({TRADES: TICKS}, chunk, lag_ns, key=KEY)
    ]
    both = [*ticks, *books(min(per, len(UPDATES)), lag_ns)]
    return {KEY: [frame for _, frame in (both if trailing else sorted(both, key=lambda item: item[0]))]}


@pytest.fixture(scope="module")
def whole():
    return run(graph, arrive())[KEY]


def test_what_is_made_of_trades_is_the_same(whole):
    alone = run(lambda market: enter(market, Plan(SETTINGS)), {KEY: deliver({TRADES: TICKS}, ALL, key=KEY)})[KEY]
    of_trades = {name: rows for name, rows in alone.items() if name != "counts"}
    assert len(of_trades["bars.1m"]) > 100
    assert digest({name: whole[name] for name in of_trades}) == digest(of_trades)


def test_minutes_of_the_book_are_those_of_the_core_alone(whole):
    alone = drive(lambda: BookMinutes(PLAN.book), [BOOKS], deliver({BOOKS: UPDATES}, ALL, key=KEY))
    assert len(alone["book.1m"]) > 100
    for name, rows in alone.items():
        assert digest({name: whole[name]}) == digest({name: rows}), name
    assert BOOKS not in whole, "updates end in the step"


def test_gaps_of_the_book_are_told(whole):
    gaps = whole["gaps.book"]
    assert (gaps["reason"] == BOOK_SEQUENCE).all()
    begun, healed = gaps[gaps["until"] == NEVER], gaps[gaps["until"] != NEVER]
    assert len(begun) > 5
    assert begun["since"].tolist()[: len(healed)] == healed["since"].tolist()
    reasons = [letter.reason for letter in whole["dead_letters"]]
    assert set(reasons) == {"BOOK_SEQ", "CROSSED"}
    assert len({letter.record_id for letter in whole["dead_letters"]}) == len(reasons) >= len(begun)


@pytest.mark.parametrize(
    ("how", "batch"),
    [((7, 1), 5), ((501, 13, 2 * SECOND_NS), 1), ((101, 13, 2 * SECOND_NS, True), 3)],
    ids=["apart", "lagging", "trailing"],
)
def test_any_delivery(whole, how, batch):
    assert digest(run(graph, arrive(*how), per=batch)[KEY]) == digest(whole)


@pytest.mark.slow
def test_a_crash_changes_nothing(whole):
    got, crashes = crashing(graph, arrive(31, 7, 2 * SECOND_NS))
    assert crashes > 3
    assert digest(got[KEY]) == digest(whole)
