"""The first trade at or after a time, on every venue that can tell, against what was traded."""

import asyncio

import pytest
from history_stand_in import BybitHistory, CoinbaseHistory, OkxHistory
from simulator_clients import KRAKEN, LINEAR, SPOT, START_NS, by_hand, loopback_only  # noqa: F401

from connectors.exchange.anchors import first_at
from connectors.exchange.calls import once
from connectors.exchange.client import load_markets, make_client
from events.errors import InputError
from events.times import DAY_NS, HOUR_NS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]


def first(exchange, address, symbol, times, call=once):
    """What `first_at` gives for each of these times."""

    async def run():
        client = make_client(exchange, [symbol], address)
        client.enableRateLimit = False
        try:
            await client.load_markets()
            return [await first_at(client, symbol, ns, call) for ns in times]
        finally:
            await client.close()

    return asyncio.run(run())


def simulated(market, instrument, times, call=once):
    exchange, _, symbol = instrument.partition(":")
    return first(exchange, market.url.removeprefix("http://"), symbol, times, call)


def expected(trades, times):
    """The same, of (id, time) by id."""
    return [next((name for name, at in trades if at >= ns), None) for ns in times]


def traded(market, instrument):
    ledger = market._world.ledger(instrument)
    rows = ledger.rows(0, ledger.next_id)
    return rows[["trade_id", "available_at"]].tolist()


def around(trades, places):
    return [at + by for place in places for at in (trades[place][1],) for by in (-1, 0, 1)]


@pytest.fixture(scope="module")
def market():
    """Two days of history, and then several trades at one time."""
    with by_hand(activity=1, history_days=2) as exchange:
        exchange.advance(60)
        for instrument in (SPOT, LINEAR, KRAKEN):
            exchange.burst(instrument, 2_500)
        exchange.advance(60)
        yield exchange


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
def test_the_local_exchange(market, instrument):
    trades = traded(market, instrument)
    assert len(trades) > 50_000
    times = around(trades, [0, 1, 999, 1_000, 1_001, 33_333, -2_700, -2_000, -30, -1])
    times += [0, trades[0][1] - DAY_NS, START_NS - HOUR_NS, market.now_ns, market.now_ns + DAY_NS]
    assert simulated(market, instrument, times) == expected(trades, times)


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
def test_a_market_that_trades_once_a_day(instrument):
    with by_hand(history_days=0) as market:
        assert simulated(market, instrument, [0, START_NS]) == [None, None]
        for day in range(40):
            market.trade(instrument, 50_000 + day, 1, 1)
            market.advance(86_400)
        trades = traded(market, instrument)
        calls = []

        async def counted(function, *given):
            calls.append(function)
            return await function(*given)

        times = around(trades, range(40))
        assert simulated(market, instrument, times, counted) == expected(trades, times)
        assert len(calls) < 10 * len(times)


def test_binance_may_refuse_times_of_long_ago(market):
    trades = traded(market, LINEAR)

    async def call(function, *given):
        if function.__qualname__.startswith("Pages.rows"):
            raise InputError("binance says: BadRequest: startTime is too old")
        return await function(*given)

    times = around(trades, [1, 4_000, -1])
    assert simulated(market, LINEAR, times, call) == expected(trades, times)


def test_a_page_begins_with_what_was_found():
    """Of several trades in one time, it is the first by id."""
    with by_hand(history_days=0) as market:
        for _ in range(3):
            market.burst(SPOT, 1_200)
            market.advance(0.001)
        trades = traded(market, SPOT)
        assert {name % 1_200 for name in expected(trades, [trades[0][1], trades[1_200][1], trades[2_400][1]])} == {
            1_000
        }
        times = around(trades, [0, 1_200, 2_400])
        assert simulated(market, SPOT, times) == expected(trades, times)


@pytest.mark.parametrize("server_class", [OkxHistory, CoinbaseHistory])
def test_venues_that_go_backwards(server_class):
    exchange = {OkxHistory: "okx", CoinbaseHistory: "coinbase"}[server_class]
    with server_class(seed=3) as server:
        symbol = server.symbols[0]
        for _ in range(6_000):
            server._now_ns += server.random.randrange(3) * 10**6
            server.make(symbol)
        trades = [(trade["id"], trade["ns"]) for trade in server.traded[symbol]]
        times = [ns for ns in around(trades, [1, 100, 777, 5_001, -1]) if ns > trades[0][1]]
        assert first(exchange, server.address, symbol, times) == expected(trades, times)
        assert first(exchange, server.address, symbol, [trades[-1][1] + 1]) == [None]
        assert first(exchange, server.address, server.symbols[1], [1, 10**18]) == [None, None]
        # nothing shows that it was not traded before
        assert first(exchange, server.address, symbol, [trades[0][1]]) == [None if exchange == "okx" else trades[0][0]]


def test_ids_that_there_are_not_are_passed_over():
    for server_class, exchange in ((OkxHistory, "okx"), (CoinbaseHistory, "coinbase")):
        with server_class(seed=4) as server:
            symbol = server.symbols[0]
            server.make(symbol, 2_000)
            for trade in server.traded[symbol][700:]:
                trade["id"] += 5_000
            server._now_ns += 10**9
            server.traded[symbol][700:] = [trade | {"ns": server._now_ns} for trade in server.traded[symbol][700:]]
            trades = [(trade["id"], trade["ns"]) for trade in server.traded[symbol]]
            times = [trades[1][1] + 1, trades[699][1], trades[699][1] + 1]
            assert first(exchange, server.address, symbol, times) == expected(trades, times)


def test_a_venue_that_cannot_tell():
    with BybitHistory() as server:
        symbol = server.symbols[0]
        server.make(symbol, 20)
        assert first("bybit", server.address, symbol, [0, server.traded[symbol][3]["ns"]]) == [None, None]


def test_the_cache_of_markets_gets_what_it_lacks_and_stays_as_old_as_it_is(tmp_path):
    with by_hand("binance:BTC/USDT", "binance:ETH/USDT", "binance:BTC/USDT:USDT") as market:
        loaded = []

        async def markets(*symbols):
            client = make_client("binance", symbols, market.url.removeprefix("http://"))

            async def load():
                loaded.append(symbols)
                await client.load_markets()

            try:
                return await load_markets("binance", client, symbols, tmp_path, load)
            finally:
                await client.close()

        asyncio.run(markets("BTC/USDT"))
        written = (tmp_path / "binance.json").stat().st_mtime_ns
        for symbols in (("BTC/USDT",), ("ETH/USDT",), ("BTC/USDT:USDT",), ("ETH/USDT", "BTC/USDT", "BTC/USDT:USDT")):
            assert set(symbols) <= set(asyncio.run(markets(*symbols)))
        assert loaded == [("BTC/USDT",), ("ETH/USDT",), ("BTC/USDT:USDT",)]
        assert (tmp_path / "binance.json").stat().st_mtime_ns == written
        with pytest.raises(InputError, match="binance has no market SOL/USDT"):
            asyncio.run(markets("SOL/USDT"))
