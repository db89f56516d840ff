"""Frames that are read past ccxt: the same rows as by way of it, and what is not as it should be is left to it."""

import asyncio
import json
import logging

import pytest
from aiohttp import WSMessage, WSMsgType
from exchange_bench import SERVERS, connected, exact
from recorded_sessions import Session, played
from test_recorded_sessions import BinanceUsdM, Bybit, Okx

from connectors.exchange import direct
from connectors.exchange.client import make_client
from connectors.exchange.direct import READERS, Direct, arrival
from connectors.exchange.instrument import Instrument
from connectors.exchange.taps import Tap
from connectors.exchange.venues import VENUES


async def both_ways(exchange, address, path, symbols, texts):
    """The trades of each frame, as (instrument, first id, last id, row): by way of ccxt, and read directly."""
    client = make_client(exchange, symbols, address)
    try:
        await client.load_markets()
        instruments, by_id, taken = {}, {}, []
        for symbol in symbols:
            market = client.market(symbol)
            instruments[symbol] = Instrument(symbol, symbol, VENUES[exchange].reader(market))
            by_id[symbol if exchange == "kraken" else market["id"]] = instruments[symbol]

        def take(trade):
            one = instruments[VENUES[exchange].named(trade)]
            given = one.read(trade, 7)
            taken.append((one.symbol, given.first, given.last, given.row))

        for symbol in symbols:
            client.trades[symbol] = Tap(take)
        connection, out = client.client(f"ws://{address}{path}"), []
        for text in texts:
            taken.clear()
            connection.handle_message(WSMessage(WSMsgType.TEXT, text, None))
            pushed = [(by_id[trade[0]], arrival(by_id[trade[0]], trade, 7)) for trade in READERS[exchange](text)]
            out.append((list(taken), [(one.symbol, a.first, a.last, a.row) for one, a in pushed]))
        return out
    finally:
        await client.close()


PATHS = {"binance": "/stream/ws", "kraken": "/v2", "okx": "/ws/v5/public", "coinbase": "", "bybit": "/v5/public/linear"}


@pytest.mark.parametrize("exchange", VENUES)
def test_frames_give_the_rows_that_they_give_by_way_of_ccxt(exchange):
    with SERVERS[exchange]() as server:
        texts = [
            text
            for count in (1, 2, 3, 40)
            for symbol in server.symbols
            for text in server.frames(symbol, server.make(symbol, count))
        ]
        found = asyncio.run(both_ways(exchange, server.address, PATHS[exchange], server.symbols, texts))
    assert len(found) == len(texts) >= 4
    for theirs, ours in found:
        assert sorted(ours) == sorted(theirs)
        assert ours


@pytest.mark.data
@pytest.mark.parametrize(
    ("exchange", "venue"),
    [("bybit", Bybit()), ("okx", Okx()), ("binance", BinanceUsdM())],
    ids=["bybit", "okx", "binance"],
)
def test_recorded_frames_give_the_rows_that_they_give_by_way_of_ccxt(exchange, venue, market_data):
    session = Session(market_data / "cryptofeed" / "jsonl_zst" / f"{venue.file}.jsonl.zst")
    path = {"binance": "/fws/market/ws"}.get(exchange, venue.path)
    frames = [
        frame.get("data", frame) if exchange == "binance" else frame
        for frame in session.frames[venue.path]
        if any(trade.market in venue.symbols for trade in venue.trades(frame))
    ]

    async def run():
        async with played(session, venue.path, lambda frame: None) as url:
            address, texts = url.removeprefix("http://"), [json.dumps(frame) for frame in frames]
            return await both_ways(exchange, address, path, tuple(venue.symbols.values()), texts)

    found = asyncio.run(run())
    assert sum(len(ours) for _, ours in found) >= venue.least
    for theirs, ours in found:
        assert sorted(ours) == sorted(theirs)


OTHERS = {
    "binance": [
        '{"result":null,"id":1}',
        '{"e":"trade","s":"BTCUSDT","t":5,"p":"1","q":"1","T":5,"m":true}',
        '{"e":"aggTrade","s":"BTCUSDT","a":5,"p":1.0,"q":"1","T":5,"m":true}',
        '{"e":"aggTrade","s":"BTCUSDT","a":5,"p":"1","q":"","T":5,"m":true}',
        '{"e":"aggTrade","s":"BTCUSDT","a":-5,"p":"1","q":"1","T":5,"m":true}',
        '{"e":"aggTrade","s":"BTCUSDT","a":1000000000000000000,"p":"1","q":"1","T":5,"m":true}',
        '{"e":"aggTrade","s":"BTCUSDT","p":"1","q":"1","T":5,"m":true}',
    ],
    "kraken": [
        '{"channel":"heartbeat"}',
        '{"channel":"trade","type":"update","data":[]}',
        '{"channel":"trade","type":"snapshot","data":[{"symbol":"BTC/USD","side":"buy","price":1,"qty":1,"trade_id":1,'
        '"timestamp":"2023-09-25T07:49:37.708706Z"}]}',
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1,"qty":1,"trade_id":1,'
        '"timestamp":"yesterday"}]}',
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"b","price":1,"qty":1,"trade_id":1,'
        '"timestamp":"2023-09-25T07:49:37.708706Z"}]}',
    ],
    "okx": [
        "pong",
        '{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}',
        '{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":[{"tradeId":"5","px":"1","sz":"1","side":"buy","ts":"5"}]}',
        '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"tradeId":"+5","px":"1","sz":"1","side":"buy","ts":"5"}]}',
    ],
    "coinbase": [
        '{"type":"last_match","trade_id":5,"side":"buy","size":"1","price":"1","product_id":"BTC-USD",'
        '"time":"2023-09-25T07:49:37.708706Z"}',
        '{"type":"subscriptions","channels":[]}',
    ],
    "bybit": [
        '{"topic":"orderbook.50.BTCUSDT","data":[{"T":5,"S":"Buy","v":"1","p":"1","i":"1"}]}',
        '{"op":"pong","args":["5"]}',
        '{"topic":"publicTrade.BTCUSDT","data":[{"T":5,"S":"Buy","v":"1","p":"1","i":""}]}',
    ],
}


@pytest.mark.parametrize(("exchange", "text"), [(name, text) for name, texts in OTHERS.items() for text in texts])
def test_what_is_not_as_it_should_be_is_not_read(exchange, text):
    with pytest.raises(direct.NOT_READ):
        READERS[exchange](text)


def handlers(client):
    """What the connections of a client do with messages."""
    found = [connection.handle_message for connection in client.part.feed.client.clients.values()]
    assert all(isinstance(handler, Direct) for handler in found)
    return found


@pytest.mark.parametrize("exchange", VENUES)
def test_only_the_first_trade_of_a_market_goes_by_way_of_ccxt(exchange):
    with connected(exchange, symbols=SERVERS[exchange].symbols[:1]) as (server, client):
        symbol = server.symbols[0]

        def learned():
            server.do(server.trade(symbol, 1))
            return any(handler._routes for handler in handlers(client))

        client.until(learned)
        parsed = []
        tap = client.part.feed.client.trades[symbol]
        before, tap._take = tap._take, lambda trade: parsed.append(trade) or before(trade)
        for _ in range(5):
            server.do(server.trade(symbol, 3))
        last = server.traded[symbol][-1]["price"]
        client.until(lambda: last in [row[2] for row in client.rows(symbol)])
        assert not parsed


def test_a_venue_that_is_read_otherwise_than_by_ccxt_is_left_to_it(monkeypatch, caplog):
    """Such as after a change of its format: the rows stay those of ccxt."""

    def wrong(text):
        return [(*trade[:5], -trade[5], trade[6]) for trade in right(text)]

    right = READERS["binance"]
    monkeypatch.setattr(direct, "READERS", {**READERS, "binance": wrong})
    with caplog.at_level(logging.WARNING), connected("binance") as (server, client):
        for _ in range(4):
            for symbol in server.symbols:
                server.do(server.trade(symbol, 2))
        client.until(client.complete)
        exact(client)
        assert not any(handler._routes for handler in handlers(client))
    assert len([record for record in caplog.records if "left to it" in record.message]) == len(server.symbols)


def test_a_trade_that_cannot_be_taken_ends_the_connection_and_nothing_is_lost():
    with connected("binance", symbols=["BTC/USDT"]) as (server, client):
        server.do(server.trade("BTC/USDT", 2))
        client.until(lambda: len(client.rows("BTC/USDT")) == 2)
        order, made = client.part.feed.instruments["BTC/USDT"].order, client.part.feed.counts["connected"]
        push, failures = order.push, iter([True])

        def failing(arrival, room=True):
            if next(failures, False):
                raise RuntimeError("a bug")
            push(arrival, room)

        order.push = failing
        server.do(server.trade("BTC/USDT", 3))
        client.until(lambda: client.part.feed.counts["connected"] > made)
        client.until(client.complete)
        exact(client)
