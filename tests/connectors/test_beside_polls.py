"""What REST of Bybit and OKX is asked beside trades, and what is made of answers as their documentation has them."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
import pytest
from beside_clients import beside_of, rows_of, until
from recorded_sessions import Session, played
from simulator_clients import loopback_only  # noqa: F401

from events.faults import faults
from events.times import DAY_NS, HOUR_NS, MINUTE_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.data, pytest.mark.slow]
MS = 1_000_000
FIVE_MS = 300_000
STREAMS = ("funding", "open_interest", "long_short")
SETTLED = [0.0001, -0.00005, 0.0002]


def times(count, step_ms):
    """The newest multiples of a step that were at least two minutes ago, in ms, newest first."""
    newest = (time.time_ns() // MS - 120_000) // step_ms * step_ms
    return [newest - k * step_ms for k in range(count)]


def bybit_answers():
    five, eight = times(3, FIVE_MS), times(3, 8 * 3_600_000)
    asked = {"category": "linear", "symbol": "BTCUSDT"}
    ratios = [{"symbol": "BTCUSDT", "buyRatio": "0.6", "sellRatio": "0.4", "timestamp": str(at)} for at in five]
    interest = [{"openInterest": f"{60_000 + k}.5", "timestamp": str(at)} for k, at in enumerate(five)]
    settled = [
        {"symbol": "BTCUSDT", "fundingRate": str(rate), "fundingRateTimestamp": str(at)}
        for rate, at in zip(SETTLED, eight)
    ]
    found = {
        ("account-ratio", "period", "5min"): {"list": ratios},
        ("open-interest", "intervalTime", "5min"): {"symbol": "BTCUSDT", "category": "linear", "list": interest},
        ("funding/history", "category", "linear"): {"category": "linear", "list": settled},
    }
    return [
        (f"/v5/market/{path}", asked | {name: value}, json.dumps({"retCode": 0, "retMsg": "OK", "result": result}))
        for (path, name, value), result in found.items()
    ]


def okx_answers():
    five, eight, name = times(3, FIVE_MS), times(3, 8 * 3_600_000), "BTC-USDT-SWAP"
    settled = [
        {"instType": "SWAP", "instId": name, "fundingRate": "0", "realizedRate": str(rate), "fundingTime": str(at)}
        for rate, at in zip(SETTLED, eight)
    ]
    contract = "/api/v5/rubik/stat/contracts/"
    period = {"instId": name, "period": "5m"}
    now = {"instId": name, "instType": "SWAP", "oi": "6100000", "oiCcy": "61000", "oiUsd": "3660000000"}
    found = [
        (contract + "long-short-account-ratio-contract", period, [[str(at), "1.5"] for at in five]),
        (
            contract + "open-interest-history",
            period,
            [[str(at), f"{6_000_000 + k}", f"{60_000 + k}.5", "3600000000"] for k, at in enumerate(five)],
        ),
        (
            "/api/v5/public/open-interest",
            {"instType": "SWAP", "uly": "BTC-USDT", "instId": name},
            [now | {"ts": str(times(1, 1)[0] + 60_000)}],
        ),
        ("/api/v5/public/funding-rate-history", {"instId": name}, settled),
    ]
    return [(path, asked, json.dumps({"code": "0", "msg": "", "data": data})) for path, asked, data in found]


@pytest.mark.parametrize(
    ("venue", "path", "answers", "interest"),
    [("bybit", "/v5/public/linear", bybit_answers, 3), ("okx", "/ws/v5/public", okx_answers, 4)],
)
def test_the_past_and_samples(market_data, venue, path, answers, interest):
    session = Session(market_data / "cryptofeed" / "jsonl_zst" / f"{venue.upper()}.jsonl.zst")
    session.frames = {path: []}
    session.answers += answers()
    key = f"{venue}:BTC/USDT:USDT"

    async def run():
        async with (
            played(session, path, lambda frame: frame) as url,
            beside_of(venue, ["BTC/USDT:USDT"], STREAMS, url, poll_s=0.2) as feed,
        ):
            await until(
                lambda: (
                    len(rows_of(feed).get((key, "open_interest"), ())) >= interest
                    and all((key, stream) in rows_of(feed) for stream in STREAMS)
                ),
                lambda: (rows_of(feed), [line.failure for line in feed.beside.lines["BTC/USDT:USDT"].values()]),
            )
            calls = feed.counts["calls"]
            await until(
                lambda: feed.counts["calls"] > calls + 3, "nothing is asked any more"
            )  # which tells nothing new
            return rows_of(feed)

    rows = asyncio.run(run())
    funding, open_interest, ratios = (rows[key, stream] for stream in STREAMS)
    assert funding["rate"].tolist() == SETTLED[::-1]
    assert set(np.diff(funding["ts_event"]).tolist()) == {8 * HOUR_NS}
    assert (funding["interval_h"] == 8.0).all()
    assert (funding["predicted"] == 0).all()
    assert ratios["long_frac"].tolist() == pytest.approx([0.6] * 3)
    assert (ratios["available_at"] == ratios["ts_event"] + MINUTE_NS).all()
    assert len(open_interest) == interest
    assert open_interest["oi_base"].tolist() == [60_002.5, 60_001.5, 60_000.5, 61_000.0][:interest]
    assert (open_interest["available_at"][:3] == open_interest["ts_event"][:3] + MINUTE_NS).all()
    assert (open_interest["available_at"] <= time.time_ns() + DAY_NS).all()
    for stream in STREAMS[1:]:
        assert not faults(stream, rows[key, stream]).any()
