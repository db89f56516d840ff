"""Fear and greed beside trades: from the local exchange over midnight, from a server that fails, and after a restart."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from beside_clients import beside_of, promised, rows_of, until
from simulator_clients import loopback_only  # noqa: F401

from connectors.exchange.context import figures
from connectors.exchange.health import StreamHealth
from connectors.simulator.exchange import Exchange
from connectors.simulator.quotes import fear_greed
from events.faults import faults
from events.times import DAY_NS, HOUR_NS, SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
SPOT, SWAP = "binance:BTC/USDT", "binance:BTC/USDT:USDT"
SYMBOLS = ["BTC/USDT", "BTC/USDT:USDT"]
DAY = 20_000


def market(before_s):
    """An exchange at which time runs as it does here, begun so many seconds before a day begins."""
    start = DAY * DAY_NS - round(before_s * SECOND_NS)
    return Exchange((SPOT, SWAP), seed=5, start_ns=start, speed=1, activity=0, history_days=0.01)


def told(feed, key):
    return rows_of(feed).get((key, "context"), ())


def test_a_figure_is_told_of_every_instrument_as_of_its_publication_and_the_next_one_as_it_is_received():
    async def run(exchange):
        given = {"timed": True, "context": exchange.context, "context_s": 0.2, "grid_s": 1.0}
        async with beside_of("binance", SYMBOLS, ("context",), exchange.url, **given) as feed:
            await until(lambda: all(promised(feed, key, "context") for key in (SPOT, SWAP)), "nothing is promised")
            queue = [item for name, item in list(feed.queue) if name == SPOT]
            await until(lambda: all(len(told(feed, key)) > 1 for key in (SPOT, SWAP)), "no day is like another")
            begun = feed.counts["calls"], exchange.now_ns
            await until(lambda: exchange.now_ns > begun[1] + SECOND_NS, "time stands still")
            return queue, told(feed, SPOT), told(feed, SWAP)

    with market(before_s=6.0) as exchange:
        queue, spot, swap = asyncio.run(run(exchange))
    assert queue[0].rows, "the first figure comes before any promise"
    for rows in (spot, swap):
        assert not faults("context", rows).any()
        assert rows["ts_event"].tolist() == [(DAY - 1) * DAY_NS, DAY * DAY_NS]
        assert rows["value"].tolist() == [fear_greed(5, DAY - 1), fear_greed(5, DAY)]
        assert rows["available_at"].tolist() == [(DAY - 1) * DAY_NS + HOUR_NS, rows["ts_recv"][1]]
    assert spot["value"][0] != spot["value"][1]


def test_after_a_restart_nothing_comes_twice_and_nothing_in_the_past():
    seen = {(SPOT, "context"): ((DAY - 1) * DAY_NS, DAY * DAY_NS - 20 * SECOND_NS)}

    async def run(exchange):
        given = {"timed": True, "context": exchange.context, "context_s": 0.2, "seen": seen}
        async with beside_of("binance", SYMBOLS, ("context",), exchange.url, **given) as feed:
            await until(lambda: len(told(feed, SPOT)) and len(told(feed, SWAP)) > 1, lambda: rows_of(feed))
            return told(feed, SPOT), told(feed, SWAP)

    with market(before_s=4.0) as exchange:
        spot, swap = asyncio.run(run(exchange))
    assert spot["ts_event"].tolist() == [DAY * DAY_NS]
    assert spot["available_at"].tolist() == spot["ts_recv"].tolist()
    assert swap["ts_event"].tolist() == [(DAY - 1) * DAY_NS, DAY * DAY_NS]


@asynccontextmanager
async def serving(answers):
    """The address of a server that gives the first of these answers."""

    async def answer(_):
        return answers[0]()

    app = web.Application()
    app.router.add_get("/fng/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/fng/"
    finally:
        await runner.cleanup()


def test_what_cannot_be_had_degrades_the_stream_alone_until_it_can():
    good = {"data": [{"value": "61", "timestamp": str((DAY - 1) * DAY_NS // SECOND_NS)}]}
    bad = {
        "503": lambda: web.Response(status=503, text="later"),
        "Expecting value": lambda: web.Response(text="<html>", content_type="text/html"),
        "KeyError": lambda: web.json_response({"metadata": {"error": "no"}}),
        "its list is empty": lambda: web.json_response({"data": []}),
    }
    answers = [*bad.values(), lambda: web.json_response(good)]

    async def run(exchange):
        async with serving(answers) as address:
            given = {"timed": True, "context": address, "context_s": 0.1, "poll_s": 0.1, "grid_s": 1.0}
            async with beside_of("binance", SYMBOLS, ("context",), exchange.url, **given) as feed:
                health = StreamHealth(feed, "context")

                def reason():
                    health.look(feed.clock.now())
                    return health.reason or ""

                for why in bad:
                    await until(lambda why=why: why in reason(), lambda: (health.state, health.reason))
                    assert f"{address} (exchange.context) serves no figures of fear and greed" in health.reason
                    if len(answers) > 2:
                        answers.pop(0)
                await until(lambda: promised(feed, SPOT, "context"), "others wait")
                assert health.state == "degraded"
                began = feed.clock.now()
                answers.pop(0)
                await until(lambda: not reason() and len(told(feed, SPOT)), lambda: health.reason)
                assert health.state == "up"
                return began, told(feed, SPOT)

    with market(before_s=3600.0) as exchange:
        began, rows = asyncio.run(run(exchange))
    assert rows["value"].tolist() == [61.0]
    assert rows["available_at"].tolist() == rows["ts_recv"].tolist(), "what was promised is not taken back"
    assert rows["ts_recv"][0] >= began


@pytest.mark.parametrize("told", [[], {"data": []}, {"data": [{"value": "x", "timestamp": "1"}]}, {"data": [7]}, None])
def test_answers_that_are_none(told):
    with pytest.raises(ValueError, match=r"empty|is not \{data"):
        figures(told)
