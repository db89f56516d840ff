"""Each knob of the local exchange does what it says, seen by a client that hides nothing; none changes what traded."""

from __future__ import annotations

import asyncio

import aiohttp
import ccxt
import pytest
import test_simulator_book_faults
from simulator_clients import (
    KRAKEN,
    LINEAR,
    SPOT,
    START_NS,
    by_hand,
    get,
    get_json,
    heard,
    loopback_only,  # noqa: F401
    socket_to,
    subscribed,
    symbol_of,
    trades_heard,
    truth,
    unified,
)

from connectors.simulator.faults import EVENTS, KNOBS
from events.errors import SettingsError

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
EVERYWHERE = pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
DIALS = {SPOT: "/stream/ws/0", LINEAR: "/fws/public/ws/0", KRAKEN: "/v2"}
PAIR = {"pair": "XBTUSD"}
HISTORY = {
    SPOT: ("/api/v3/aggTrades", {"symbol": "BTCUSDT"}),
    LINEAR: ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}),
    KRAKEN: ("/0/public/Trades", PAIR),
}
CLOCKS = {SPOT: "/api/v3/time", LINEAR: "/fapi/v1/time", KRAKEN: "/0/public/Time"}


def trade_often(exchange, instrument, count, first=0):
    """So many trades, each at a time of its own."""
    for k in range(first, first + count):
        exchange.trade(instrument, 100.0 + k, 1.0, 1 if k % 3 else -1)
        exchange.advance(0.001)


async def ids_until(ws, last_price):
    """Ids heard up to the trade at that price."""
    ids = []
    while True:
        for trade_id, price, _, _ in await trades_heard(ws, 1):
            ids.append(trade_id)
            if price == last_price:
                return ids


async def history(exchange, instrument):
    path, query = HISTORY[instrument]
    told = await get_json(exchange, path, **query)
    return [row["a"] for row in told] if isinstance(told, list) else [row[6] for row in told["result"]["XXBTZUSD"]]


@EVERYWHERE
def test_close(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.trade(instrument, 1.0, 1.0, 1)
                exchange.fault("close")
                assert len(await trades_heard(ws, 1)) == 1
                message = await asyncio.wait_for(ws.receive(), 60)
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            await asyncio.to_thread(exchange.wait_connections, 0)
            async with subscribed(exchange, instrument) as ws:
                exchange.trade(instrument, 2.0, 1.0, 1)
                assert (await trades_heard(ws, 1))[0][1] == 2.0

    asyncio.run(run())


@EVERYWHERE
def test_reset(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("reset")
                message = await asyncio.wait_for(ws.receive(), 60)
                assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                assert ws.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
            await asyncio.to_thread(exchange.wait_connections, 0)

    asyncio.run(run())


@EVERYWHERE
def test_mute(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("mute")
                trade_often(exchange, instrument, 5)
                exchange.advance(30)
                await ws.ping(b"there?")
                pong = await asyncio.wait_for(ws.receive(), 60)
                assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"there?")
                exchange.clear("mute")
                trade_often(exchange, instrument, 1, first=5)
                assert await trades_heard(ws, 1) == truth(exchange, instrument)[5:]

    asyncio.run(run())


@EVERYWHERE
def test_refuse(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("refuse", 2)
            for _ in range(2):
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    async with socket_to(exchange, DIALS[instrument]):
                        pass
            assert await history(exchange, instrument) == []
            async with subscribed(exchange, instrument):
                pass
            exchange.fault("refuse")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                async with socket_to(exchange, DIALS[instrument]):
                    pass

    asyncio.run(run())


@EVERYWHERE
def test_no_pong(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("no-pong")
                await ws.ping(b"1")
                await ws.send_json({"method": "ping" if instrument == KRAKEN else "LIST", "req_id": 1, "id": 1})
                if instrument != KRAKEN:
                    assert (await heard(ws))["id"] == 1  # an answer to what was sent after the ping, so that was read
                await ws.send_json({"method": "nonsense", "id": 2, "req_id": 2})
                answer = await heard(ws)
                assert 2 in (answer.get("id"), answer.get("req_id"))
                exchange.clear()
                await ws.ping(b"2")
                assert bytes((await asyncio.wait_for(ws.receive(), 60)).data) == b"2"

    asyncio.run(run())


@EVERYWHERE
def test_rest_429(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("rest-429", 1)
            path, query = HISTORY[instrument]
            status, headers, _ = await get(exchange, path, **query)
            assert (status, headers["Retry-After"]) == (429, "1")
            assert (await get(exchange, path, **query))[0] == 200

    asyncio.run(run())


@EVERYWHERE
def test_rest_html(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("rest-html", 1)
            path, query = HISTORY[instrument]
            assert (await get(exchange, CLOCKS[instrument]))[1]["Content-Type"].startswith("application/json")
            status, headers, text = await get(exchange, path, **query)
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert text.startswith("<html>")
            assert await history(exchange, instrument) == []

    asyncio.run(run())


@EVERYWHERE
def test_rest_lag(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                for k in range(5):
                    exchange.trade(instrument, 100.0 + k, 1.0, 1)
                    exchange.advance(1)
                exchange.fault("rest-lag", 2.5)
                ids = [trade[0] for trade in truth(exchange, instrument)]
                assert [trade[0] for trade in await trades_heard(ws, 5)] == ids
                assert await history(exchange, instrument) == ids[:3]
                exchange.advance(1)
                assert await history(exchange, instrument) == ids[:4]
                exchange.clear()
                assert await history(exchange, instrument) == ids

    asyncio.run(run())


@EVERYWHERE
def test_duplicates(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("duplicates", 0.5)
                trade_often(exchange, instrument, 100)
                exchange.clear()
                trade_often(exchange, instrument, 1, first=100)
                got, ids = await ids_until(ws, 200.0), [trade[0] for trade in truth(exchange, instrument)]
        assert sorted(set(got)) == ids
        assert 130 < len(got) < 170
        assert got == sorted(got)

    asyncio.run(run())


@EVERYWHERE
def test_skip(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("skip", 0.3)
                trade_often(exchange, instrument, 100)
                exchange.clear()
                trade_often(exchange, instrument, 1, first=100)
                got, ids = await ids_until(ws, 200.0), [trade[0] for trade in truth(exchange, instrument)]
        assert set(got) < set(ids)
        assert 55 < len(got) < 85
        assert got == sorted(got)

    asyncio.run(run())


@pytest.mark.parametrize("instrument", [SPOT, LINEAR])
def test_reorder(instrument):
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("reorder")
                first, last = exchange.burst(instrument, 50)
                got = [trade[0] for trade in await trades_heard(ws, 50)]
                assert got != sorted(got) == list(range(first, last + 1))

    asyncio.run(run())


@EVERYWHERE
def test_burst(instrument):
    async def run():
        with by_hand(instrument) as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.fault("burst", 5_000)
                traded, got = truth(exchange, instrument), []
                while len(got) < 5_000:
                    got += await trades_heard(ws, 1)
        assert got == traded
        assert len(set(exchange.traded(instrument)["available_at"].tolist())) == 1

    asyncio.run(run())


@EVERYWHERE
def test_clock_skew(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("clock-skew", -45)
            told = await get_json(exchange, CLOCKS[instrument])
            told_ms = told["serverTime"] if "serverTime" in told else told["result"]["unixtime"] * 1_000
            assert told_ms == START_NS // 1_000_000 - 45_000
            exchange.trade(instrument, 1.0, 1.0, 1)
            assert exchange.traded(instrument)["available_at"].tolist() == [START_NS]

    asyncio.run(run())


@EVERYWHERE
def test_geo_block(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("geo-block")
            path, query = HISTORY[instrument]
            assert (await get(exchange, path, **query))[0] == 451
            with pytest.raises(aiohttp.WSServerHandshakeError, match="451"):
                async with socket_to(exchange, DIALS[instrument]):
                    pass

    asyncio.run(run())


@EVERYWHERE
def test_bad_symbol(instrument):
    async def run():
        with by_hand() as exchange:
            exchange.fault("bad-symbol")
            path, query = HISTORY[instrument]
            status, _, text = await get(exchange, path, **query)
            if instrument == KRAKEN:
                assert (status, text) == (200, '{"error": ["EQuery:Unknown asset pair"]}')
            else:
                assert (status, text) == (400, '{"code": -1121, "msg": "Invalid symbol."}')
            async with subscribed(exchange, instrument):
                assert exchange.subscribers(instrument) == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("rest-429", {"kraken": ccxt.RateLimitExceeded, "": ccxt.DDoSProtection}),
        ("geo-block", {"": ccxt.ExchangeNotAvailable}),
        ("bad-symbol", {"kraken": ccxt.ExchangeError, "": ccxt.BadSymbol}),
    ],
)
@pytest.mark.parametrize(("client", "instrument"), [("binance", SPOT), ("binanceusdm", LINEAR), ("kraken", KRAKEN)])
def test_ccxt_raises_what_it_raises_on_the_real_exchange(client, instrument, fault, raised):
    async def run():
        with by_hand() as exchange:
            async with unified(exchange, client, enableRateLimit=False) as c:
                await c.load_markets()
                exchange.fault(fault)
                with pytest.raises(raised.get(client, raised[""])):
                    await c.fetch_trades(symbol_of(instrument))

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), [("binance", SPOT), ("binanceusdm", LINEAR), ("kraken", KRAKEN)])
@pytest.mark.parametrize("event", ["close", "reset"])
def test_ccxt_notices_that_the_connection_is_gone_and_comes_back(client, instrument, event):
    async def run():
        with by_hand() as exchange:
            async with unified(exchange, client) as c:
                params = {} if instrument == KRAKEN else {"name": "aggTrade"}
                watching = asyncio.create_task(c.watch_trades(symbol_of(instrument), params=dict(params)))
                await asyncio.to_thread(exchange.wait_subscribed, instrument)
                exchange.fault(event)
                with pytest.raises(ccxt.NetworkError):
                    await asyncio.wait_for(watching, 60)
                watching = asyncio.create_task(c.watch_trades(symbol_of(instrument), params=dict(params)))
                await asyncio.to_thread(exchange.wait_subscribed, instrument)
                exchange.trade(instrument, 7.0, 1.0, 1)
                assert (await asyncio.wait_for(watching, 60))[-1]["price"] == 7.0

    asyncio.run(run())


def test_faults_of_one_venue_leave_the_other_alone():
    async def run():
        with by_hand() as exchange:
            exchange.fault("geo-block", venue="kraken")
            exchange.fault("skip", 1.0, venue="kraken")
            assert await history(exchange, SPOT) == []
            assert (await get(exchange, CLOCKS[KRAKEN]))[0] == 451
            exchange.clear("geo-block")
            assert exchange.venues["kraken"].faults.values == {"skip": 1.0}
            assert exchange.venues["binance"].faults.values == {}
            assert exchange.venues["kraken"].counts["faulted"] == 1
            assert +exchange.venues["kraken"].faults.happened == {"geo-block": 1}
            assert not +exchange.venues["binance"].faults.happened

    asyncio.run(run())


def test_same_seed_same_faults():
    async def run():
        heard_ids = []
        for _ in range(2):
            with by_hand() as exchange:
                async with subscribed(exchange, SPOT) as ws:
                    for name in ("skip", "duplicates"):
                        exchange.fault(name, 0.3)
                    trade_often(exchange, SPOT, 100)
                    exchange.clear()
                    trade_often(exchange, SPOT, 1, first=100)
                    heard_ids.append(await ids_until(ws, 200.0))
        assert heard_ids[0] == heard_ids[1]
        assert len(set(heard_ids[0])) < 101

    asyncio.run(run())


def test_what_is_no_fault_is_a_sentence():
    with by_hand() as exchange:
        with pytest.raises(SettingsError, match=rf"there is no fault 'slow'; there are {', '.join([*KNOBS, *EVENTS])}"):
            exchange.fault("slow")
        with pytest.raises(SettingsError, match="there is no venue 'okx' here; there are binance, kraken"):
            exchange.fault("mute", venue="okx")


def test_every_knob_and_event_is_tested_here_or_with_the_books():
    names = [*globals(), *vars(test_simulator_book_faults)]
    tested = {name.removeprefix("test_").replace("_", "-") for name in names}
    assert {*KNOBS, *EVENTS} <= tested
