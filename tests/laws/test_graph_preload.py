"""The laws over the whole graph where trades go on from preloaded klines; and that history makes no signals."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, DELIVERIES, deliver, digest, run, trades
from test_graph import SETTINGS

from events.frames import NO_ROWS, Frame, control
from events.rows import OHLCV
from events.schema import COVERAGE, FROM_OHLCV, NEVER
from events.times import MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

FEEDS = frozenset({"trades", "preload"})
PLAN = Plan(SETTINGS, feeds=FEEDS)
KEY = "lab:PAST"
MARKET = trades(24_000, 21)
FIRST, LAST = int(MARKET["available_at"][0]), int(MARKET["available_at"][-1])
SINCE = int(MARKET["available_at"][len(MARKET) // 2]) + 1  # as a source says it, behind the first trade
UNTIL = SINCE // MINUTE_NS * MINUTE_NS


def graph(market):
    return build(market, PLAN)


def history():
    """Klines of each timeframe from the trades before `UNTIL`, as a venue has them."""
    rows, past = [], MARKET[MARKET["available_at"] < UNTIL]
    for _, length in PLAN.timeframes:
        opens = past["available_at"] // length * length
        for ts_open in np.unique(opens).tolist():
            of = past[opens == ts_open]
            price = of["price"]
            if ts_open > FIRST and ts_open + length <= UNTIL:
                prices = (price[0], price.max(), price.min(), price[-1], of["qty"].sum(), np.nan)
                rows.append((ts_open + length, 0, 0, ts_open, *prices, 1, 0))
    out = np.array(rows, OHLCV)
    out = out[np.lexsort((out["ts_open"], out["available_at"]))]
    out["seq"] = np.arange(len(out))
    return out


def arrive(delivery=(ALL, 0, False, False), rows=MARKET, end=LAST + 2 * 3600 * SECOND_NS, late=False):
    chunk, lag, beats, _ = delivery
    live = deliver({"trades": rows[rows["available_at"] >= SINCE - 1]}, chunk, lag, beats, end=end, key=KEY)
    live.insert(0, Frame(KEY, "trades", NO_ROWS, NEVER, control(COVERAGE, SINCE, SINCE)))
    live.insert(
        len(live) // 2 * late, Frame(KEY, "preload", history(), 2**63 - 1, control(COVERAGE, NEVER, SINCE, UNTIL))
    )
    return {KEY: live}


@pytest.fixture(scope="module")
def whole():
    out = run(graph, arrive())[KEY]
    assert len(out["signals"]) > 1, "the laws would hold over nothing"
    assert (out["confluence"]["available_at"] <= UNTIL).sum() > 100
    return out


@pytest.mark.parametrize("delivery", DELIVERIES[::5], ids=str)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.slow
def test_any_delivery(whole, delivery, late):
    assert digest(run(graph, arrive(delivery, late=late), per=7)[KEY]) == digest(whole)


def test_prefix(whole):
    cut = UNTIL + 60 * MINUTE_NS
    part = run(graph, arrive((501, 2 * SECOND_NS, False, False), MARKET[MARKET["available_at"] <= cut], cut + 1))[KEY]
    for name, rows in part.items():
        if isinstance(rows, tuple):
            assert rows == tuple(r for r in whole[name] if r.ts <= cut), name
        elif name != "gaps":
            assert rows.tobytes() == whole[name][whole[name]["available_at"] <= cut].tobytes(), name


def test_history_warms_indicators_and_makes_no_signals(whole):
    bars, scores = whole["bars.1m"], whole["confluence"]
    assert (scores["state"][bars["flags"] & FROM_OHLCV != 0] != 0).any(), "there was nothing to signal"
    assert all(signal.ts > UNTIL for signal in whole["signals"])
    cold = run(lambda market: build(market, Plan(SETTINGS)), {KEY: [f for f in arrive()[KEY] if f.name == "trades"]})[
        KEY
    ]
    begins = UNTIL + 5 * MINUTE_NS
    warm_row, cold_row = (out["features.5m"][out["features.5m"]["available_at"] > begins][0] for out in (whole, cold))
    assert (warm_row["status"] <= 2).sum() > 2 * (cold_row["status"] <= 2).sum()
