"""The local exchange as Kraken: every endpoint and the websocket, by ccxt as it is and by plain requests, against what traded."""

from __future__ import annotations

import asyncio

import pytest
from simulator_clients import (
    KRAKEN,
    START_NS,
    after_ninety_seconds,
    by_hand,
    get_json,
    heard,
    loopback_only,  # noqa: F401
    socket_to,
    subscribed,
    trades_heard,
    trades_in,
    truth,
    unified,
    unified_trades,
)

from connectors.simulator.kraken_frames import iso_us
from events.times import MINUTE_NS, SECOND_NS

pytestmark = pytest.mark.usefixtures("loopback_only")


@pytest.fixture(scope="module")
def market():
    with after_ninety_seconds(KRAKEN, "kraken:SOL/USD", activity=3) as exchange:
        yield exchange


def subscribe(symbol="BTC/USD", **more):
    return {"method": "subscribe", "params": {"channel": "trade", "symbol": [symbol], **more}, "req_id": 5}


def test_markets_assets_status_and_time(market):
    async def run():
        async with unified(market, "kraken", enableRateLimit=False) as c:
            listed = await c.load_markets()
            assert set(listed) == {"BTC/USD", "SOL/USD"}
            assert (listed["BTC/USD"]["id"], listed["BTC/USD"]["wsId"]) == ("XXBTZUSD", "XBT/USD")
            assert listed["BTC/USD"]["precision"]["price"] == 0.01
            assert set(await c.fetch_currencies()) == {"BTC", "SOL", "USD"}
            assert (await c.fetch_status())["status"] == "ok"
            assert await c.fetch_time() == market.now_ns // SECOND_NS * 1000
            book = await c.fetch_order_book("BTC/USD", 10)
        assert book["bids"][0][0] <= market.traded(KRAKEN)["price"][-1] <= book["asks"][0][0]
        assert book["bids"][0][0] < book["asks"][0][0]

    asyncio.run(run())


def test_paging_by_the_cursor_gives_exactly_what_traded(market):
    async def run():
        traded = market.traded(KRAKEN)
        cursor, rows = int(traded["available_at"][0]) - 1, {}
        async with unified(market, "kraken", enableRateLimit=False) as c:
            while True:
                params = {"since": str(cursor), "count": 7}
                page = await c.fetch_trades("BTC/USD", None, None, params)
                fresh = {trade[0]: trade for trade in unified_trades(page)}
                if fresh.keys() <= rows.keys():
                    break
                rows |= fresh
                last = next(int(trade["info"][7]) for trade in page if len(trade["info"]) == 8)
                cursor = last - 1 if last - 1 > cursor else last  # the page may end in the middle of one time
        assert list(rows.values()) == truth(market, KRAKEN)
        assert len(rows) > 50

    asyncio.run(run())


def test_history_from_before_the_start_and_the_newest_page(market):
    async def run():
        first = market.traded(KRAKEN)
        since = START_NS - 60 * SECOND_NS
        for text in (str(since), str(since // SECOND_NS)):
            page = (await get_json(market, "/0/public/Trades", pair="XBTUSD", since=text))["result"]
            ids = [row[6] for row in page["XXBTZUSD"]]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert ids[0] < first["trade_id"][0] < ids[-1]
            assert all(row[2] * SECOND_NS > since for row in page["XXBTZUSD"])
        newest = (await get_json(market, "/0/public/Trades", pair="XXBTZUSD", count=3))["result"]
        assert [row[6] for row in newest["XXBTZUSD"]] == first["trade_id"][-3:].tolist()
        assert newest["last"] == str(first["available_at"][-1])
        none = (await get_json(market, "/0/public/Trades", pair="XXBTZUSD", since=newest["last"]))["result"]
        assert none == {"XXBTZUSD": [], "last": newest["last"]}

    asyncio.run(run())


@pytest.mark.parametrize("minutes", [1, 5, 30, 240])
def test_klines(market, minutes):
    async def run():
        length, name = minutes * MINUTE_NS, {1: "1m", 5: "5m", 30: "30m", 240: "4h"}[minutes]
        async with unified(market, "kraken", enableRateLimit=False) as c:
            rows = await c.fetch_ohlcv("BTC/USD", name)
            since = await c.fetch_ohlcv("BTC/USD", name, since=rows[-3][0])
            trades = await c.fetch_trades("BTC/USD", None, None, {"since": str(rows[-2][0] * 1_000_000 - 1)})
        first = max(-(-(START_NS - 86_400 * SECOND_NS) // length), market.now_ns // length - 719)  # 720 at most
        assert len(rows) == market.now_ns // length - first + 1
        assert [row[0] for row in rows[-2:]] == [(market.now_ns // length - k) * length // 1_000_000 for k in (1, 0)]
        assert since == rows[-3:]
        if len(trades) < 1000:
            forming = sorted((t for t in trades if t["timestamp"] >= rows[-1][0]), key=lambda t: int(t["id"]))
            assert rows[-1][5] == pytest.approx(sum(t["amount"] for t in forming))
            assert rows[-1][4] == forming[-1]["price"]

    asyncio.run(run())


def test_ccxt_watches_trades_from_a_snapshot_on():
    async def run():
        with by_hand(KRAKEN) as exchange:
            for k in range(60):
                exchange.trade(KRAKEN, 100.0 + k, 0.00000001 * (k + 1), 1)
            async with unified(exchange, "kraken") as c:
                got = await asyncio.wait_for(c.watch_trades("BTC/USD", params={"snapshot": True}), 60)
                watching = asyncio.create_task(c.watch_trades("BTC/USD", params={"snapshot": True}))
                exchange.trade(KRAKEN, 99.5, 2.0, -1)
                got += (await asyncio.wait_for(watching, 60))[-1:]
            assert unified_trades(got) == truth(exchange, KRAKEN)[-51:]

    asyncio.run(run())


def test_a_client_that_never_fails_hears_exactly_what_traded():
    async def run():
        with by_hand(KRAKEN, activity=20, history_days=0) as exchange:
            async with subscribed(exchange, KRAKEN) as ws:
                exchange.advance(60)
                exchange.burst(KRAKEN, 500)
                exchange.advance(0.5)
                traded, got, messages = truth(exchange, KRAKEN), [], 0
                while len(got) < len(traded):
                    got += trades_in(await heard(ws))
                    messages += 1
        assert got == traded
        assert len(traded) > 1_000
        assert messages < len(traded)  # what trades at one time is one message

    asyncio.run(run())


def test_the_websocket_says_what_kraken_says():
    async def run():
        with by_hand(KRAKEN) as exchange:
            exchange.trade(KRAKEN, 100.5, 0.25, -1)
            async with socket_to(exchange, "/v2", {"method": "ping", "req_id": 9}, subscribe()) as ws:
                status, pong, answer, snapshot = [await heard(ws) for _ in range(4)]
                assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
                assert (pong["method"], pong["req_id"]) == ("pong", 9)
                assert (answer["success"], answer["result"]["symbol"], answer["req_id"]) == (True, "BTC/USD", 5)
                trade = {"symbol": "BTC/USD", "side": "sell", "price": 100.5, "qty": 0.25, "ord_type": "market"}
                trade |= {"trade_id": 1000, "timestamp": iso_us(START_NS)}
                assert snapshot == {"channel": "trade", "type": "snapshot", "data": [trade]}
                for _ in range(30):
                    exchange.advance(0.1)
                assert [await heard(ws) for _ in range(2)] == [{"channel": "heartbeat"}] * 2
                await ws.send_json(subscribe() | {"method": "unsubscribe"})
                while (answer := await heard(ws)) == {"channel": "heartbeat"}:
                    pass
                assert (answer["method"], answer["success"]) == ("unsubscribe", True)
                assert exchange.subscribers(KRAKEN) == 0
                await ws.send_json(subscribe("XXX/USD"))
                assert (await heard(ws))["error"] == "Currency pair not supported XXX/USD"

    asyncio.run(run())


def test_without_a_snapshot_only_what_trades_from_now_on():
    async def run():
        with by_hand(KRAKEN) as exchange:
            exchange.trade(KRAKEN, 100.5, 0.25, -1)
            async with subscribed(exchange, KRAKEN) as ws:
                exchange.trade(KRAKEN, 101.5, 0.25, 1)
                assert await trades_heard(ws, 1) == truth(exchange, KRAKEN)[1:]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        ("/0/public/Trades", {"pair": "XYZ"}, "EQuery:Unknown asset pair"),
        ("/0/public/Trades", {"pair": "XBTUSD", "since": "yesterday"}, "EGeneral:Invalid arguments"),
        ("/0/public/OHLC", {"pair": "XBTUSD", "interval": "7"}, "EGeneral:Invalid arguments"),
        ("/0/public/Nothing", {}, "EGeneral:Unknown method"),
    ],
)
def test_wrong_requests_get_the_errors_of_kraken(market, path, query, error):
    assert asyncio.run(get_json(market, path, **query)) == {"error": [error]}
