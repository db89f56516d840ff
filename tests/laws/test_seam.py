"""Trades, funding exactly on boundaries, a heartbeat that lags, any chunks and restarts: the same bytes, and rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, DELIVERIES, KEY, Joined, deliver, digest, drive, funding, run, trades

from events.frames import Frame
from events.rows import BAR, FUNDING
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.keyed import keyed, merge, pick
from operators.latest import Input, Latest

TIMEFRAMES = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS))
INPUTS = (Input("bars.5m", BAR, HOUR_NS), Input("funding", FUNDING, 9 * MINUTE_NS))


def graph(market):
    bars = keyed("bars", Bars, (TIMEFRAMES, 60), ("trades",), pick("trades", market, "trades"))
    rates = keyed("funding", Latest, ("funding", MINUTE_NS), ("funding",), pick("rates", market, "funding"))
    streams = ("bars.1m", "bars.5m", "funding")
    up = merge("up", pick("base", bars, "bars.1m", "bars.5m"), rates)
    return merge("seam", bars, keyed("joined", Joined, ("joined", "bars.1m", INPUTS), streams, up))


@pytest.fixture(scope="module")
def market():
    return {"trades": trades(3_000, 1), "funding": funding(200, 2)}


@pytest.fixture(scope="module")
def expected(market):
    out = run(graph, {KEY: deliver(market, ALL)})[KEY]
    assert len(out["bars.1m"]) > 100
    assert len(out["joined"]) == len(out["bars.1m"])
    return digest(out)


@pytest.mark.parametrize("delivery", DELIVERIES, ids=str)
def test_any_delivery_gives_the_same_bytes(market, expected, delivery):
    assert digest(run(graph, {KEY: deliver(market, *delivery)}, per=1 + delivery[0] % 3)[KEY]) == expected


def test_two_workers_give_the_same_bytes(market, expected):
    assert digest(run(graph, {KEY: deliver(market, 7, SECOND_NS)}, workers=2, per=8)[KEY]) == expected


@given(
    cuts=st.lists(st.integers(1, 2_999), max_size=40),
    lag=st.sampled_from([0, 2 * SECOND_NS]),
    seed=st.integers(0, 99),
)
def test_bars_survive_any_cuts_and_restarts(market, expected, cuts, lag, seed):
    rows, frames = market["trades"], []
    edges = [0, *sorted(set(cuts)), len(rows)]
    for a, b in pairwise(edges):
        frames.append(Frame(KEY, "trades", rows[a:b], int(rows["available_at"][b - 1]) - lag))
    frames += deliver({"trades": rows[:0]}, 1)
    got = digest(drive(lambda: Bars(TIMEFRAMES, 60), ("trades",), frames, restart=0.3, seed=seed))
    assert got["bars.1m"] == expected["bars.1m"]
    assert got["bars.5m"] == expected["bars.5m"]


def test_a_rate_on_the_boundary_counts_for_it(market):
    joined = run(graph, {KEY: deliver(market, 50, SECOND_NS)})[KEY]["joined"]
    rates = market["funding"]
    on = np.isin(joined["available_at"], rates["available_at"])
    assert on.sum() > 10
    assert (joined["funding.age"][on] == 0).all()
    for row in joined[::7]:  # against the definition
        known = rates[rates["available_at"] <= row["available_at"]]
        fresh = len(known) and row["available_at"] - known["available_at"][-1] <= 9 * MINUTE_NS
        assert np.isnan(row["funding"]["rate"]) == (not fresh)
        assert not fresh or row["funding"]["rate"] == known["rate"][-1]
