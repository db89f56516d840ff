"""The local exchange as Binance: every endpoint and stream, by ccxt as it is and by plain requests, against what traded."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from simulator_clients import (
    LINEAR,
    SPOT,
    START_NS,
    after_ninety_seconds,
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
    unified_trades,
)

from connectors.simulator.exchange import Exchange
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
CLIENTS = [("binance", SPOT), ("binance", LINEAR), ("binanceusdm", LINEAR)]
MS = 1_000_000


@pytest.fixture(scope="module")
def market():
    with after_ninety_seconds(activity=1) as exchange:
        yield exchange


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
def test_markets_and_time(market, client, instrument):
    async def run():
        async with unified(market, client) as c:
            listed = (await c.load_markets())[symbol_of(instrument)]
            assert listed["linear" if "USDT:" in instrument else "spot"]
            assert (listed["precision"]["price"], listed["precision"]["amount"]) == (0.01, 1e-05)
            assert listed["active"]
            assert await c.fetch_time() == market.now_ns // MS
        served = {one["symbol"] for one in (await get_json(market, "/api/v3/exchangeInfo"))["symbols"]}
        assert served == {"BTCUSDT"}

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
def test_paging_by_id_gives_exactly_what_traded(market, client, instrument):
    async def run():
        rows, traded = [], truth(market, instrument)
        next_id = traded[0][0]
        async with unified(market, client, enableRateLimit=False) as c:
            while True:
                page = await c.fetch_trades(symbol_of(instrument), None, 7, {"fromId": next_id})
                if not page:
                    break
                rows += sorted(unified_trades(page))
                next_id = rows[-1][0] + 1
            newest = await c.fetch_trades(symbol_of(instrument), None, 5)
        assert len(traded) > 20
        assert rows == traded
        assert sorted(unified_trades(newest)) == traded[-5:]

    asyncio.run(run())


def test_pages_begin_at_the_id_and_reach_into_history(market):
    async def run():
        first = market.traded(SPOT)["trade_id"][0]
        page = await get_json(market, "/api/v3/aggTrades", symbol="BTCUSDT", fromId=str(first - 10), limit=1000)
        assert [row["a"] for row in page[:11]] == list(range(first - 10, first + 1))
        start = page[3]["T"]
        timed = await get_json(market, "/api/v3/aggTrades", symbol="BTCUSDT", startTime=str(start), limit=4)
        assert timed == [row for row in page if row["T"] >= start][:4]
        timed = await get_json(market, "/api/v3/aggTrades", symbol="BTCUSDT", startTime=str(start), endTime=str(start))
        assert timed == [row for row in page if row["T"] == start]

    asyncio.run(run())


def test_raw_trades_add_up_to_the_aggregates(market):
    async def run():
        raw = await get_json(market, "/api/v3/trades", symbol="BTCUSDT", limit=20)
        assert [row["id"] for row in raw] == list(range(raw[0]["id"], raw[0]["id"] + 20))
        aggregates = await get_json(market, "/api/v3/aggTrades", symbol="BTCUSDT", limit=20)
        assert aggregates[-1]["l"] == raw[-1]["id"]
        for before, after in pairwise(aggregates):
            assert after["f"] == before["l"] + 1
        whole = [row for row in aggregates if row["f"] >= raw[0]["id"]]
        assert len(whole) > 10
        for row in whole:
            parts = [part for part in raw if row["f"] <= part["id"] <= row["l"]]
            assert sum(float(part["qty"]) for part in parts) == pytest.approx(float(row["q"]), rel=1e-12)
            assert {(part["price"], part["time"], part["isBuyerMaker"]) for part in parts} == {
                (row["p"], row["T"], row["m"])
            }

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
@pytest.mark.parametrize("timeframe", ["1m", "5m", "30m", "4h"])
def test_klines_closed_and_forming(market, client, instrument, timeframe):
    async def run():
        length = {"1m": 1, "5m": 5, "30m": 30, "4h": 240}[timeframe] * MINUTE_NS
        async with unified(market, client, enableRateLimit=False) as c:
            newest = await c.fetch_ohlcv(symbol_of(instrument), timeframe, limit=3)
            opens = [market.now_ns // length * length // MS - k * length // MS for k in (2, 1, 0)]
            assert [row[0] for row in newest] == opens
            since = await c.fetch_ohlcv(symbol_of(instrument), timeframe, since=opens[0], limit=2)
            assert since == newest[:2]
            trades = await c.fetch_trades(symbol_of(instrument), None, 1000)
        forming = [trade for trade in trades if trade["timestamp"] >= opens[2]]
        if len(forming) == 1000:
            return  # more than a page of trades: minutes show it
        assert forming
        forming.sort(key=lambda trade: int(trade["id"]))
        prices = [trade["price"] for trade in forming]
        assert newest[2][1:5] == [prices[0], max(prices), min(prices), prices[-1]]
        assert newest[2][5] == pytest.approx(sum(trade["amount"] for trade in forming))

    asyncio.run(run())


def test_the_book_surrounds_the_last_price(market):
    async def run():
        for client, instrument in CLIENTS:
            async with unified(market, client, enableRateLimit=False) as c:
                book = await c.fetch_order_book(symbol_of(instrument), 10)
            bids, asks = [level[0] for level in book["bids"]], [level[0] for level in book["asks"]]
            assert (len(bids), len(asks)) == (10, 10)
            assert bids == sorted(bids, reverse=True)
            assert asks == sorted(asks)
            assert bids[0] <= market.traded(instrument)["price"][-1] <= asks[0] != bids[0]

    asyncio.run(run())


def test_funding():
    async def run():
        with by_hand(LINEAR, activity=1, history_days=1, funding_minutes=60) as market:
            async with unified(market, "binanceusdm", enableRateLimit=False) as c:
                now = await c.fetch_funding_rate("BTC/USDT:USDT")
                settled = await c.fetch_funding_rate_history("BTC/USDT:USDT", limit=100)
                assert now["fundingTimestamp"] == (START_NS // HOUR_NS + 1) * HOUR_NS // MS
                assert len(settled) == 24
                assert [row["timestamp"] % 3_600_000 for row in settled] == [0] * 24
                assert all(abs(row["fundingRate"]) < 0.01 for row in settled)
                assert settled[-1]["timestamp"] == START_NS // HOUR_NS * HOUR_NS // MS
                since = await c.fetch_funding_rate_history("BTC/USDT:USDT", since=settled[3]["timestamp"], limit=2)
                assert [row["fundingRate"] for row in since] == [row["fundingRate"] for row in settled[3:5]]
                market.advance(3_600)
                settled_now = (await c.fetch_funding_rate_history("BTC/USDT:USDT", limit=1))[0]
                assert (settled_now["timestamp"], settled_now["fundingRate"]) == (
                    now["fundingTimestamp"],
                    now["fundingRate"],
                )
                every = await c.fetch_funding_intervals(["BTC/USDT:USDT"])
                assert every["BTC/USDT:USDT"]["interval"] == "1h"

    asyncio.run(run())


def test_liquidations_are_some_of_the_trades():
    async def run():
        with by_hand(LINEAR, activity=50, history_days=0.1) as exchange:
            async with unified(exchange, "binance", enableRateLimit=False) as c:
                await c.load_markets()
                watching = asyncio.create_task(c.watch_liquidations("BTC/USDT:USDT"))
                while not watching.done():  # until it is subscribed, and one comes
                    await asyncio.to_thread(exchange.advance, 5)
                    await asyncio.sleep(0.01)
                found = watching.result()
            traded = {
                (
                    row["available_at"] // MS,
                    row["price"],
                    round(float(row["qty"]), 5),
                    "buy" if row["side"] > 0 else "sell",
                )
                for row in exchange.traded(LINEAR)
            }
        assert found
        for one in found:
            assert (one["timestamp"], one["price"], one["contracts"], one["side"].lower()) in traded

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
@pytest.mark.parametrize("name", ["aggTrade", "trade"])
def test_ccxt_watches_trades(client, instrument, name):
    async def run():
        with by_hand() as exchange:
            async with unified(exchange, client) as c:
                watching = asyncio.create_task(c.watch_trades(symbol_of(instrument), params={"name": name}))
                await asyncio.to_thread(exchange.wait_subscribed, instrument)
                exchange.trade(instrument, 50_000.25, 0.125, -1)
                (trade,) = (await asyncio.wait_for(watching, 60))[-1:]
                assert (trade["symbol"], trade["price"], trade["side"]) == (symbol_of(instrument), 50_000.25, "sell")
                assert trade["timestamp"] == START_NS // MS
                if name == "aggTrade":
                    assert unified_trades([trade]) == truth(exchange, instrument)

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
def test_ccxt_watches_klines_and_the_best_prices(client, instrument):
    async def run():
        symbol = symbol_of(instrument)
        with by_hand() as exchange:
            async with unified(exchange, client) as c:
                watching = asyncio.gather(c.watch_ohlcv(symbol, "1m"), c.watch_bids_asks([symbol]))
                await asyncio.to_thread(exchange.wait_connections, 2)
                while (
                    not watching.done()
                ):  # frames of a moment in which it has not subscribed yet are lost, as anywhere
                    exchange.trade(instrument, 50_000.25, 0.125, 1)
                    exchange.advance(1)
                    await asyncio.sleep(0)
                klines, best = await watching
        assert klines[-1][1:5] == [50_000.25] * 4
        assert klines[-1][5] >= 0.125
        assert best[symbol]["bid"] < 50_000.25 == best[symbol]["ask"]

    asyncio.run(run())


@pytest.mark.parametrize("instrument", [SPOT, LINEAR])
def test_a_client_that_never_fails_hears_exactly_what_traded(instrument):
    async def run():
        with by_hand(activity=20, history_days=0) as exchange:
            async with subscribed(exchange, instrument) as ws:
                exchange.advance(20)
                exchange.burst(instrument, 500)
                exchange.advance(20)
                exchange.trade(instrument, 60_000.0, 1.0, 1)
                traded = truth(exchange, instrument)
                assert len(traded) > 900
                assert await trades_heard(ws, len(traded)) == traded

    asyncio.run(run())


def test_kline_frames_say_when_one_is_closed():
    async def run():
        with by_hand(SPOT) as exchange:
            message = {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 7}
            async with socket_to(exchange, "/stream/ws/0", message) as ws:
                assert await heard(ws) == {"result": None, "id": 7}
                exchange.trade(SPOT, 100.0, 1.0, 1)
                exchange.trade(SPOT, 101.0, 2.0, -1)
                exchange.advance(160)  # 20 s before the end of its minute 100 s, and then two empty minutes
                told = [(await heard(ws))["k"] for _ in range(5)]
        assert [(k["x"], k["t"] - START_NS // MS, k["n"], k["c"], k["v"], k["V"]) for k in told] == [
            (False, -20_000, 1, "100.00", "1.00000", "1.00000"),
            (False, -20_000, 2, "101.00", "3.00000", "1.00000"),
            (True, -20_000, 2, "101.00", "3.00000", "1.00000"),
            (True, 40_000, 0, "101.00", "0.00000", "0.00000"),
            (True, 100_000, 0, "101.00", "0.00000", "0.00000"),
        ]

    asyncio.run(run())


def test_a_book_that_nobody_trades_on_still_changes():
    async def run():
        with by_hand(SPOT) as exchange:
            message = {"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1}
            async with socket_to(exchange, "/stream/ws/0", message) as ws:
                await heard(ws)
                exchange.advance(5)
                told = [await heard(ws) for _ in range(5)]
                exchange.trade(SPOT, 100.0, 1.0, 1)
                while (newest := await heard(ws))["a"] != "100.00":
                    told.append(newest)
        assert {one["b"] for one in told} == {"60000.00"}
        assert len({(one["B"], one["A"], one["a"]) for one in told}) > 5
        assert len({one["u"] for one in told}) == len(told)

    asyncio.run(run())


def test_unsubscribed_streams_and_streams_of_the_other_segment_are_silent():
    async def run():
        with by_hand() as exchange:
            async with subscribed(exchange, SPOT) as ws:
                await ws.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@aggTrade"], "id": 2})
                assert await heard(ws) == {"result": None, "id": 2}
                exchange.trade(LINEAR, 1.0, 1.0, 1)
                await ws.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 3})
                assert await heard(ws) == {"result": None, "id": 3}
                exchange.trade(SPOT, 2.0, 1.0, 1)
                await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 4})
                assert await heard(ws) == {"result": None, "id": 4}
                exchange.trade(SPOT, 3.0, 1.0, 1)
                assert (await trades_heard(ws, 1))[0][1] == 3.0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/api/v3/aggTrades", {}, 400, -1102),
        ("/api/v3/aggTrades", {"symbol": "XYZ"}, 400, -1121),
        ("/api/v3/aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, 400, -1128),
        ("/api/v3/aggTrades", {"symbol": "BTCUSDT", "fromId": "-1"}, 400, -1100),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "7x"}, 400, -1120),
        ("/fapi/v1/klines", {"symbol": "ETHUSDT", "interval": "1m"}, 400, -1121),
        ("/api/v3/premiumIndex", {"symbol": "BTCUSDT"}, 404, -1000),
    ],
)
def test_wrong_requests_get_the_errors_of_binance(market, path, query, status, code):
    async def run():
        answered, _, _ = await get(market, path, **query)
        assert answered == status
        assert (await get_json(market, path, **query))["code"] == code

    asyncio.run(run())


def test_a_market_that_runs_by_itself_is_watched_by_ccxt():
    """Real time, ten times as fast: what ccxt hears is part of what traded, each of them true."""

    async def run():
        with Exchange([SPOT], speed=10, activity=20, history_days=0) as exchange:
            async with unified(exchange, "binance") as c:
                got = []
                while len(got) < 200:
                    got += await c.watch_trades("BTC/USDT", params={"name": "aggTrade"})
            traded = {trade[0]: trade for trade in truth(exchange, SPOT)}
            now_ns = exchange.now_ns
        assert all(traded[trade[0]] == trade for trade in unified_trades(got))
        assert now_ns - int(exchange.traded(SPOT)["available_at"][0]) > SECOND_NS

    asyncio.run(run())
