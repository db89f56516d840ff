"""The laws over the whole graph where bars are made of klines, with funding rates beside them."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, DELIVERIES, START, deliver, digest, funding, klines, run

from config import Settings
from events.frames import Frame, control
from events.schema import END, FROM_OHLCV
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

SETTINGS = Settings.model_validate(
    {
        "bars": {"time": ["1m", "5m", "30m"]},
        "confluence": {"blend": {"1m": 0.7, "5m": 0.3}, "theta": 10.0},
        "signals": {"tf": "1m"},
        "sources": {"lateness_s": 2},
    }
)
PLAN = Plan(SETTINGS, feeds=frozenset({"klines.1m", "funding"}))
LAST = (START + 30 * DAY_NS) // (4 * HOUR_NS) * (4 * HOUR_NS)


def graph(market):
    return build(market, PLAN)


def markets():
    return {
        "lab:BUSY": {"klines.1m": klines(2_500, 11, quiet=0.0), "funding": funding(300, 1)},
        "lab:HOLE": {"klines.1m": klines(1_500, 12, 3 * DAY_NS, quoted=True), "funding": funding(90, 2)},
        "lab:BARE": {"klines.1m": klines(900, 13), "funding": funding(1, 3)[:0]},
    }


def arrive(delivery=(ALL, 0, False, False), end=LAST, of=None):
    return {key: deliver(streams, *delivery, end=end, key=key) for key, streams in (of or markets()).items()}


@pytest.fixture(scope="module")
def whole():
    out = run(graph, arrive())
    for key in out:
        assert len(out[key]["signals"]) > 1, "the laws would hold over nothing"
        assert len(out[key]["features.30m"]) > 5
        assert (out[key]["bars.30m"]["flags"] & FROM_OHLCV).all()
        assert "funding" not in out[key]
    return out


def digests(out):
    return {key: digest(streams) for key, streams in out.items()}


@pytest.mark.parametrize("delivery", DELIVERIES[1::5], ids=str)
@pytest.mark.slow
def test_any_delivery(whole, delivery):
    assert digests(run(graph, arrive(delivery), per=64 if delivery[2] else 5)) == digests(whole)


@pytest.mark.slow
def test_placement_two_workers(whole):
    assert digests(run(graph, arrive((101, 2 * SECOND_NS, False, False)), workers=2, per=8)) == digests(whole)


def test_prefix(whole):
    cut = START // MINUTE_NS * MINUTE_NS + 700 * MINUTE_NS
    begun = {
        key: {name: rows[rows["available_at"] <= cut] for name, rows in streams.items()}
        for key, streams in markets().items()
    }
    part = run(graph, arrive((501, 2 * SECOND_NS, False, False), end=cut + 1, of=begun))
    for key, streams in part.items():
        for name, rows in streams.items():
            expected = whole[key][name]
            if isinstance(rows, tuple):
                assert rows == tuple(r for r in expected if r.ts <= cut)
            elif name != "gaps":
                assert rows.tobytes() == expected[expected["available_at"] <= cut].tobytes(), (key, name)
    assert len(part["lab:BUSY"]["confluence"]) > 100


def test_ends_of_all_streams_are_counted_and_flush_the_forming_bars():
    rows, rates = klines(97, 14, quiet=0.0), funding(5, 4)
    last = int(rows["available_at"][-1])
    frames = [
        Frame("lab:A", "klines.1m", rows, -(2**63)),
        Frame("lab:A", "funding", rates, -(2**63)),
        *(
            Frame("lab:A", name, empty, last + 1, control(END, last))
            for name, empty in (("klines.1m", rows[:0]), ("funding", rates[:0]))
        ),
    ]
    out = run(graph, {"lab:A": frames})["lab:A"]
    assert {record.name: record.accepted for record in out["counts"]} == {"klines.1m": 97, "funding": 5}
    assert "bars.open.1m" not in out
    assert float(np.sum(out["bars.1m"]["volume"])) == pytest.approx(float(np.sum(rows["volume"])), rel=1e-12)
