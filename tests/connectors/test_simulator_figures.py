"""What the local exchange tells beside trades and books: mark and index prices, open interest, ratios, and days in figures."""

from __future__ import annotations

import asyncio

import pytest
from simulator_books import listening, moving, snapshot, told_since
from simulator_clients import (
    LINEAR,
    SPOT,
    START_NS,
    by_hand,
    get,
    get_json,
    loopback_only,  # noqa: F401
    symbol_of,
    unified,
)

from connectors.simulator.quotes import fear_greed
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

pytestmark = pytest.mark.usefixtures("loopback_only")
MS = 1_000_000
PERPETUAL = symbol_of(LINEAR)
ETHER = "binance:ETH/USDT:USDT"


@pytest.fixture(scope="module")
def market():
    with by_hand(SPOT, LINEAR, ETHER, activity=1, history_days=1.5) as exchange:
        exchange.advance(90)
        yield exchange


def test_mark_prices_are_told_once_a_second_as_rest_has_them():
    async def run():
        with by_hand(LINEAR, activity=20, history_days=0.1, funding_minutes=1) as exchange:
            async with listening(exchange, LINEAR, "markPrice@1s", "markPrice") as ws:
                exchange.advance(60)
                frames = await told_since(ws)
                asked = await get_json(exchange, "/fapi/v1/premiumIndex", symbol="BTCUSDT")
        assert len(frames) == 80
        once_a_second = sorted({frame["E"]: frame for frame in frames}.values(), key=lambda frame: frame["E"])
        assert [frame["E"] for frame in once_a_second] == [START_NS // MS + 1_000 * k for k in range(1, 61)]
        traded = exchange.traded(LINEAR)
        for frame in once_a_second:
            before = traded[traded["available_at"] < frame["E"] * MS]
            if len(before):
                assert float(frame["p"]) == before["price"][-1]
            assert float(frame["i"]) == pytest.approx(float(frame["p"]), rel=5e-3)
            assert frame["i"] != frame["p"]
            assert frame["T"] == (frame["E"] // 60_000 + 1) * 60_000
        assert len({frame["r"] for frame in once_a_second}) == 2  # two funding intervals
        last = once_a_second[-1]
        assert (asked["markPrice"], asked["indexPrice"]) == (last["p"], last["i"])
        assert (asked["lastFundingRate"], asked["nextFundingTime"], asked["time"]) == (last["r"], last["T"], last["E"])

    asyncio.run(run())


def test_ccxt_has_mark_prices_funding_and_open_interest(market):
    async def run():
        async with unified(market, "binanceusdm", enableRateLimit=False) as c:
            every = await c.fetch_funding_rates()
            one = await c.fetch_funding_rate(PERPETUAL)
            assert set(every) == {PERPETUAL, symbol_of(ETHER)}
            assert every[PERPETUAL]["markPrice"] == one["markPrice"] == market.traded(LINEAR)["price"][-1]
            now = await c.fetch_open_interest(PERPETUAL)
            assert now["timestamp"] == market.now_ns // MS
            watching = asyncio.create_task(c.watch_mark_prices([PERPETUAL]))
            while not watching.done():
                await asyncio.to_thread(market.advance, 1)
                await asyncio.sleep(0.01)
            told = watching.result()[PERPETUAL]
            assert told["markPrice"] > 0
            assert float(told["info"]["r"]) == one["fundingRate"]

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(("timeframe", "length"), [("5m", 5 * MINUTE_NS), ("1h", HOUR_NS)])
def test_history_of_open_interest_and_of_who_is_long(market, timeframe, length):
    async def run():
        async with unified(market, "binance", enableRateLimit=False) as c:
            newest = market.now_ns // length * length // MS
            for fetched in (c.fetch_open_interest_history, c.fetch_long_short_ratio_history):
                rows = await fetched(PERPETUAL, timeframe, limit=20)
                assert [row["timestamp"] for row in rows] == [newest - k * length // MS for k in range(19, -1, -1)]
                since = await fetched(PERPETUAL, timeframe, rows[3]["timestamp"], 5)
                assert [row["info"] for row in since] == [row["info"] for row in rows[3:8]]
            interest = await c.fetch_open_interest_history(PERPETUAL, timeframe, limit=20)
            values = [row["openInterestAmount"] for row in interest]
            assert len(set(values)) == 20
            assert max(values) < 2 * min(values)
            for row in interest:
                assert 50_000 < row["openInterestValue"] / row["openInterestAmount"] < 70_000
            ratios = [row["info"] for row in await c.fetch_long_short_ratio_history(PERPETUAL, timeframe, limit=20)]
            for row in ratios:
                share = float(row["longAccount"])
                assert share + float(row["shortAccount"]) == pytest.approx(1)
                assert float(row["longShortRatio"]) == pytest.approx(share / (1 - share), abs=1e-4)
            assert len({row["longAccount"] for row in ratios}) > 10

    asyncio.run(run())


def test_open_interest_now_is_on_the_line_of_its_history():
    async def run():
        with by_hand(LINEAR, activity=1, history_days=0.1) as market:
            market.advance((5 * MINUTE_NS - START_NS % (5 * MINUTE_NS)) / SECOND_NS)
            now = await get_json(market, "/fapi/v1/openInterest", symbol="BTCUSDT")
            past = await get_json(market, "/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", limit="1")
            assert (float(now["openInterest"]), now["time"]) == (
                float(past[0]["sumOpenInterest"]),
                past[0]["timestamp"],
            )

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), [("binance", SPOT), ("binanceusdm", LINEAR)])
def test_a_day_in_figures_is_that_of_its_klines(market, client, instrument):
    async def run():
        symbol = symbol_of(instrument)
        async with unified(market, client, enableRateLimit=False) as c:
            ticker = await c.fetch_ticker(symbol)
            since = (market.now_ns - DAY_NS) // MINUTE_NS * MINUTE_NS // MS
            klines = await c.fetch_ohlcv(symbol, "1m", since=since, limit=1_000)
            klines += await c.fetch_ohlcv(symbol, "1m", since=klines[-1][0] + 60_000, limit=1_000)
            assert (len(klines), klines[0][0]) == (1_441, ticker["info"]["openTime"] and since)
            assert (ticker["open"], ticker["last"]) == (klines[0][1], klines[-1][4])
            assert (ticker["high"], ticker["low"]) == (max(k[2] for k in klines), min(k[3] for k in klines))
            assert ticker["baseVolume"] == pytest.approx(sum(k[5] for k in klines))
            assert ticker["quoteVolume"] == pytest.approx(ticker["baseVolume"] * ticker["vwap"], rel=1e-3)
            assert ticker["percentage"] == pytest.approx(100 * (ticker["last"] / ticker["open"] - 1), abs=1e-3)
            if instrument == SPOT:
                told = await snapshot(market, SPOT, 5)
                assert [ticker["bid"], ticker["ask"]] == [float(told[side][0][0]) for side in ("bids", "asks")]

    asyncio.run(run())


def test_tickers_of_all_and_of_those_that_are_named(market):
    async def run():
        async with unified(market, "binance", enableRateLimit=False) as c:
            assert set(await c.fetch_tickers(params={"type": "swap"})) == {PERPETUAL, symbol_of(ETHER)}
            assert set(await c.fetch_tickers(["BTC/USDT"])) == {"BTC/USDT"}
        named = await get_json(market, "/api/v3/ticker/24hr", symbols='["BTCUSDT"]')
        assert [row["symbol"] for row in named] == ["BTCUSDT"]
        for query in ({"symbols": '["XYZ"]'}, {"symbol": "XYZ"}):
            status, _, text = await get(market, "/api/v3/ticker/24hr", **query)
            assert (status, "-1121" in text) == (400, True)

    asyncio.run(run())


@pytest.mark.parametrize(("instrument", "every_s"), [(SPOT, 1), (LINEAR, 2)])
def test_a_ticker_is_told_once_in_a_while_as_rest_has_it(instrument, every_s):
    async def run():
        with by_hand(instrument, activity=20, history_days=0.1) as exchange:
            async with listening(exchange, instrument, "ticker") as ws:
                exchange.advance(20)
                frames = await told_since(ws)
                path = "/api/v3/ticker/24hr" if instrument == SPOT else "/fapi/v1/ticker/24hr"
                asked = await get_json(exchange, path, symbol="BTCUSDT")
        assert [frame["E"] - START_NS // MS for frame in frames] == [
            1_000 * every_s * k for k in range(1, 20 // every_s + 1)
        ]
        last = frames[-1]
        assert [last[name] for name in "cohlvqnFL"] == [
            asked[name]
            for name in (
                *("lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume"),
                *("count", "firstId", "lastId"),
            )
        ]
        assert last["n"] > frames[0]["n"] > 0

    asyncio.run(run())


@pytest.mark.parametrize("name", ["ticker", "miniTicker"])
@pytest.mark.parametrize(("client", "instrument"), [("binance", SPOT), ("binanceusdm", LINEAR)])
def test_ccxt_watches_tickers(client, instrument, name):
    async def run():
        symbol = symbol_of(instrument)
        with by_hand(instrument, activity=20, history_days=0.1) as exchange:
            async with unified(exchange, client, enableRateLimit=False) as c:
                watching = asyncio.create_task(c.watch_tickers([symbol], {"name": name}))
                async with moving(exchange, 0.5):
                    told = (await watching)[symbol]
                traded = exchange.traded(instrument)
        before = traded[traded["available_at"] < told["timestamp"] * MS]
        assert (told["last"], told["timestamp"] % 500) == (before["price"][-1], 0)
        assert told["quoteVolume"] > told["baseVolume"] > 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_symbols_differ_in_turnover_and_a_trade_changes_their_ranks():
    async def run():
        names = [f"binance:C{k:02d}/USDT:USDT" for k in range(20)]
        with by_hand(*names, activity=1, history_days=1) as exchange:

            async def ranks():
                rows = await get_json(exchange, "/fapi/v1/ticker/24hr")
                assert len(rows) == 20
                return sorted(rows, key=lambda row: -float(row["quoteVolume"]))

            first = await ranks()
            assert float(first[0]["quoteVolume"]) > 5 * float(first[-1]["quoteVolume"])
            exchange.advance(600)
            then = await ranks()
            moved = [abs(k - [row["symbol"] for row in then].index(row["symbol"])) for k, row in enumerate(first)]
            assert max(moved) <= 2  # slowly
            last = first[-1]["symbol"]
            exchange.trade(f"binance:{last[:3]}/USDT:USDT", 1.0, 2 * float(then[0]["quoteVolume"]), 1)
            assert (await ranks())[0]["symbol"] == last

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/fapi/v1/openInterest", {}, 400, -1102),
        ("/fapi/v1/openInterest", {"symbol": "XYZ"}, 400, -1121),
        ("/api/v3/openInterest", {"symbol": "BTCUSDT"}, 404, -1000),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "7x"}, 400, -1120),
        ("/futures/data/globalLongShortAccountRatio", {"symbol": "BTCUSDT"}, 400, -1120),
        ("/futures/data/nothing", {"symbol": "BTCUSDT"}, 404, -1000),
    ],
)
def test_wrong_requests_get_the_errors_of_binance(market, path, query, status, code):
    async def run():
        answered, _, _ = await get(market, path, **query)
        assert answered == status
        assert (await get_json(market, path, **query))["code"] == code

    asyncio.run(run())


def test_fear_and_greed_is_told_as_the_site_does_newest_first(market):
    async def run():
        three, one = [await get_json(market, "/fng/", **given) for given in ({"limit": 3}, {})]
        wrong, _, _ = await get(market, "/fng/", limit="x")
        return three, one, wrong

    three, one, wrong = asyncio.run(run())
    today = market.now_ns // DAY_NS
    days = [int(figure["timestamp"]) * SECOND_NS // DAY_NS for figure in three["data"]]
    assert days == [today, today - 1, today - 2]
    assert [int(figure["value"]) for figure in three["data"]] == [fear_greed(1, day) for day in days]
    assert one["data"] == three["data"][:1]
    assert wrong == 400
    values = [fear_greed(1, day) for day in range(2_000)]
    assert (min(values) >= 0, max(values) <= 100, len(set(values)) > 50) == (True, True, True)
