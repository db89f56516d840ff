"""Streams beside trades on the local exchange: what REST knows of the past and serves now, silence, failures, and a full queue."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from beside_clients import beside_of, promised, rows_of, until
from simulator_clients import loopback_only  # noqa: F401

from connectors.exchange.health import StreamHealth
from connectors.simulator.exchange import Exchange
from events.faults import first_fault
from events.frames import Array, Frame
from events.schema import NEVER
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS
from operators.intake import Intake

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
SPOT, SWAP = "binance:BTC/USDT", "binance:BTC/USDT:USDT"
T = 1_750_000_080 * SECOND_NS  # a whole minute


def market(before_s=40.0, instruments=(SPOT, SWAP), **given):
    """An exchange at which time runs as it does here, begun so many seconds before a minute ends."""
    start = T + MINUTE_NS - round(before_s * SECOND_NS)
    return Exchange(
        instruments, **{"seed": 5, "start_ns": start, "speed": 1, "activity": 20, "history_days": 2, **given}
    )


def symbol(key):
    return key.partition(":")[2]


def accepted(key, stream, rows: Array):
    """How many rows the intake of a live run takes, and why it does not take the others."""

    intake = Intake({stream: 2 * SECOND_NS})
    intake.push(Frame(key, stream, rows, NEVER))
    out = {frame.name: frame for frame in intake.advance()}
    return len(out[stream].rows), [letter.reason for letter in getattr(out.get("dead_letters"), "rows", ())]


def test_what_was_before_comes_first_at_its_own_times_and_then_samples_as_they_are_received():
    streams = ("funding", "open_interest", "long_short")

    async def run(exchange):
        async with beside_of(
            "binance", [symbol(SWAP)], streams, exchange.url, timed=True, poll_s=0.3, grid_s=1.0
        ) as feed:
            began = feed.clock.now()
            await until(
                lambda: (
                    len([row for row in rows_of(feed).get((SWAP, "open_interest"), ()) if row["ts_recv"] > began]) > 3
                    and any(rows_of(feed).get((SWAP, "funding"), np.zeros(1, [("predicted", "i4")]))["predicted"])
                    and all(promised(feed, SWAP, stream) for stream in streams)
                ),
                lambda: rows_of(feed),
            )
            return began, rows_of(feed), {stream: promised(feed, SWAP, stream) for stream in streams}, list(feed.queue)

    with market() as exchange:
        began, rows, promises, queue = asyncio.run(run(exchange))
    for stream in streams:
        found = rows[SWAP, stream]
        assert accepted(SWAP, stream, found) == (len(found), [])
        first = next(n for n, (_, item) in enumerate(queue) if item.stream == stream and item.watermark != NEVER)
        early = [item for _, item in queue[:first] if item.stream == stream and item.rows]
        assert len(early) > 4, "the past comes before any promise"
        assert promises[stream][0] % SECOND_NS == 1
    interest = rows[SWAP, "open_interest"]
    past = interest[interest["available_at"] < began]
    assert len(past) > 100
    assert (past["available_at"] - past["ts_event"] == MINUTE_NS).all()
    assert past["oi_usd"] / past["oi_base"] == pytest.approx(interest["oi_usd"][0] / interest["oi_base"][0], rel=0.2)
    now = interest[interest["available_at"] >= began]
    assert (now["available_at"] == now["ts_recv"]).all()
    assert (now["ts_event"] <= now["available_at"] + SECOND_NS).all()
    ratios = rows[SWAP, "long_short"]
    assert set(ratios["period_s"].tolist()) == {300}
    assert ((ratios["long_frac"] > 0.2) & (ratios["long_frac"] < 0.8)).all()
    assert set(np.diff(ratios["ts_event"]).tolist()) == {300 * SECOND_NS}
    funding = rows[SWAP, "funding"]
    settled, predicted = funding[funding["predicted"] == 0], funding[funding["predicted"] == 1]
    assert (settled["available_at"] == settled["ts_event"]).all()
    assert set(np.diff(settled["ts_event"]).tolist()) == {8 * HOUR_NS}
    assert (predicted["interval_h"] == 8.0).all()
    assert (predicted["ts_next"] % (8 * HOUR_NS) == 0).all()
    assert (np.abs(predicted["mark"] / predicted["index"] - 1.0) < 0.01).all()


def test_a_settlement_comes_once_soon_after_it_was_made():
    async def run(exchange):
        async with beside_of("binance", [symbol(SWAP)], ("funding",), exchange.url, timed=True, poll_s=0.5) as feed:

            def late():
                rows = rows_of(feed).get((SWAP, "funding"), ())
                return [row for row in rows if not row["predicted"] and row["available_at"] > row["ts_event"]]

            await until(late, lambda: rows_of(feed))
            return rows_of(feed)[SWAP, "funding"]

    with market(before_s=4.0, funding_minutes=1.0, history_days=0.1) as exchange:
        funding = asyncio.run(run(exchange))
    settled = funding[funding["predicted"] == 0]
    assert set(np.diff(settled["ts_event"]).tolist()) == {MINUTE_NS}
    assert settled["ts_event"][-1] == T + MINUTE_NS
    assert 10 * SECOND_NS < settled["available_at"][-1] - settled["ts_event"][-1] < 20 * SECOND_NS
    assert settled["available_at"][-1] == settled["ts_recv"][-1]
    taken, refused = accepted(SWAP, "funding", funding)
    assert (taken, refused) == (len(funding), []), "a settlement is not a repeat of what was predicted after it"


def test_after_a_restart_nothing_that_was_handed_out_comes_again():
    async def run(exchange, seen):
        streams = ("funding", "long_short")
        async with beside_of("binance", [symbol(SWAP)], streams, exchange.url, seen, timed=True, poll_s=0.3) as feed:
            await until(
                lambda: all(line.ready for lines in feed.beside.lines.values() for line in lines.values()),
                "the past does not come",
            )
            await until(
                lambda: any(rows_of(feed).get((SWAP, "funding"), {"predicted": [0]})["predicted"]), "no prediction"
            )
            return rows_of(feed)

    with market() as exchange:
        first = asyncio.run(run(exchange, {}))
        settled = first[SWAP, "funding"][first[SWAP, "funding"]["predicted"] == 0]["ts_event"]
        ratios = first[SWAP, "long_short"]["ts_event"]
        seen = {(SWAP, "funding"): (int(settled[-3]), T), (SWAP, "long_short"): (int(ratios[-1]), T)}
        second = asyncio.run(run(exchange, seen))
    again = second[SWAP, "funding"][second[SWAP, "funding"]["predicted"] == 0]
    assert again["ts_event"].tolist() == settled[-2:].tolist()
    assert (again["available_at"] > T).all()  # what was promised stays true
    assert (SWAP, "long_short") not in second


def test_a_refusal_of_rest_is_stated_and_the_rest_goes_on():
    async def run(exchange):
        async with beside_of(
            "binance", [symbol(SWAP)], ("top", "open_interest"), exchange.url, timed=True, poll_s=0.2
        ) as feed:
            health = [StreamHealth(feed, stream) for stream in ("top", "open_interest")]

            def states():
                for one in health:
                    one.look(feed.clock.now())
                return [one.state for one in health]

            await until(lambda: states() == ["up", "up"], lambda: [(one.state, one.reason) for one in health])
            exchange.fault("rest-429", 1e9)
            await until(lambda: states() == ["up", "degraded"], states)
            reason = health[1].reason
            exchange.clear("rest-429")
            await until(lambda: states() == ["up", "up"], states)
            return reason

    with market() as exchange:
        reason = asyncio.run(run(exchange))
    assert reason.startswith("REST does not serve it: ")
    assert "429" in reason


def test_of_a_mute_connection_nothing_is_promised_and_it_is_made_anew():
    async def run(exchange):
        streams = ("top", "ticker", "liquidations")
        async with beside_of(
            "binance", [symbol(SWAP)], streams, exchange.url, timed=True, grid_s=1.0, stale_s=2.0
        ) as feed:
            await until(lambda: all(promised(feed, SWAP, name) for name in streams), "no promise")
            exchange.fault("mute")
            since = feed.clock.now()
            await until(lambda: feed.beside.channels[1].failure is not None, "nobody sees that it is mute")
            muted = {name: promised(feed, SWAP, name)[-1] for name in streams}
            exchange.clear("mute")
            await until(lambda: promised(feed, SWAP, "liquidations")[-1] > muted["liquidations"], "not up again")
            holes = [item.control for _, item in feed.queue if item.stream == "liquidations" and len(item.control)]
            return since, muted, holes

    with market() as exchange:
        since, muted, holes = asyncio.run(run(exchange))
    for name in ("ticker", "liquidations"):
        assert muted[name] <= since, name
    assert len(holes) == 1
    assert holes[0]["since"][0] <= since + SECOND_NS < holes[0]["until"][0]


@pytest.mark.parametrize(("newest_s", "promised_s"), [(None, None), (-9, None), (-9, -5), (-3, -5)])
def test_what_was_liquidated_since_an_earlier_run_knew_it_is_said_to_be_missing(newest_s, promised_s):
    """Whether it had promised anything of it or not; a run that begins knows nothing of before."""

    async def run(exchange):
        at = [NEVER if s is None else exchange.now_ns + s * SECOND_NS for s in (newest_s, promised_s)]
        seen = {} if newest_s is None else {(SWAP, "liquidations"): tuple(at)}
        async with beside_of(
            "binance", [symbol(SWAP)], ("liquidations",), exchange.url, timed=True, grid_s=1.0, seen=seen
        ) as feed:
            await until(lambda: promised(feed, SWAP, "liquidations"), "no promise")
            return at, [item.control for _, item in feed.queue if len(item.control)]

    with market() as exchange:
        at, holes = asyncio.run(run(exchange))
    assert [hole["since"][0] for hole in holes] == ([] if newest_s is None else [max(at)])


def test_while_too_much_waits_only_the_newest_state_is_kept():
    async def run(exchange):
        async with beside_of("binance", [symbol(SPOT)], ("top",), exchange.url, timed=True, queue=20) as feed:
            line = None
            while line is None or line.conflated < 10:
                line = feed.beside.lines.get(symbol(SPOT), {}).get("top")
                await asyncio.sleep(0.02)
            full = rows_of(feed)[SPOT, "top"]
            waiting = len(feed.queue)
            feed.queue.clear()
            await until(lambda: rows_of(feed), "what was kept does not come")
            return full, waiting, rows_of(feed)[SPOT, "top"]

    with market(activity=200) as exchange:
        full, waiting, after = asyncio.run(run(exchange))
    assert waiting <= 12
    assert after["seq"][0] > full["seq"][-1]


def test_what_cannot_be_read_is_a_row_that_says_so_and_disturbs_nothing():
    async def run(exchange):
        async with beside_of("binance", [symbol(SPOT)], ("top",), exchange.url, timed=True) as feed:
            await until(lambda: rows_of(feed), "no quotes")
            feed.beside.client.bidsasks[symbol(SPOT)] = {"bid": "much", "info": {}}
            n = len(rows_of(feed)[SPOT, "top"])
            await until(lambda: len(rows_of(feed)[SPOT, "top"]) > n, "no more quotes")
            return n, rows_of(feed)[SPOT, "top"]

    with market() as exchange:
        n, rows = asyncio.run(run(exchange))
    assert first_fault("top", rows) == (n - 1, "MALFORMED")
    assert first_fault("top", rows[n:]) is None
