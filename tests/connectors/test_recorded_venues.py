"""Recorded sessions of venues that the project does not connect to, parsed by ccxt as it is: trades, books, tickers.

Messages by kind, without acknowledgements and heartbeats:

| file     | trades               | books                      | tickers | candles |
|----------|----------------------|----------------------------|---------|---------|
| BITFINEX | 7 snapshots, 30 each | 7 snapshots, 1,593 updates | 21      |         |
| BITSTAMP | 10                   | 717 updates, 10 by REST    |         |         |
| DERIBIT  | subscribed, none     | 10 snapshots, 36 updates   | 89      |         |
| GATEIO   | 9                    | 172 updates, 10 by REST    | 22      | 14      |
| KUCOIN   | 18                   | 3,853 updates, 9 by REST   | 830     | 6       |
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import ccxt.pro
import pytest
from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base.ws.cache import ArrayCache
from recorded_sessions import market, played
from recorded_venues import BOTH, SIDES, VENUES, Bitfinex, Bitstamp, Deribit, Gate, Kucoin, Levels
from simulator_clients import loopback_only  # noqa: F401

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.data, pytest.mark.slow]

CANDLES = ("spot.candlesticks", "update")
EVERY_VENUE = pytest.mark.parametrize("kind", VENUES, ids=lambda kind: kind.client)


@asynccontextmanager
async def connected(venue, session, sent=lambda frame: None):
    """A client of the session that is played, and its connection, with the markets of the session."""
    async with played(session, venue.path, sent) as url:
        client = getattr(ccxt.pro, venue.client)({**venue.config(url), "enableRateLimit": False})
        try:
            if isinstance(venue, Deribit):  # the one list of instruments that is read as it was recorded
                asked = [{"currency": currency, "expired": "false"} for currency in ("BTC", "ETH")]
                listed = [one for each in asked for one in await client.fetch_markets(each)]
                client.set_markets([one for one in listed if one["id"] in venue.symbols])
            else:
                client.set_markets([market(symbol, name) for name, symbol in venue.symbols.items()])
            if isinstance(venue, Kucoin):  # where it says which server to dial, which was not recorded
                session.answers.append(("/api/v1/bullet-public", {}, venue.server))
            yield client, client.client(url.replace("http", "ws") + venue.path)
        finally:
            await client.close()


def told(connection, frame):
    connection.handle_message(WSMessage(WSMsgType.TEXT, json.dumps(frame), None))


def count(venue, session, kind):
    read = {"trades": lambda frame: list(venue.trades(frame)), "books": venue.book, "tickers": venue.ticker}[kind]
    found = filter(None, map(read, session.frames[venue.path]))
    return sum(map(len, found)) if kind == "trades" else len(list(found))


@EVERY_VENUE
def test_all_that_was_recorded_is_known(kind, market_data):
    session = kind().session(market_data)
    assert {name: count(kind(), session, name) for name in kind.counts} == kind.counts


@pytest.mark.parametrize("kind", [kind for kind in VENUES if kind.counts["trades"]], ids=lambda kind: kind.client)
def test_every_trade(kind, market_data):
    venue, got, done = kind(), {}, asyncio.Event()
    session = venue.session(market_data)
    trades = [trade for frame in session.frames[venue.path] for trade in venue.trades(frame)]
    expected = {(venue.symbols[trade.market], trade.id): trade for trade in trades}

    class Tap(ArrayCache):
        def append(self, trade):
            got[trade["symbol"], trade["id"]] = trade
            if len(got) == len(expected):
                done.set()
            super().append(trade)

    async def run():
        async with connected(venue, session, venue.frame) as (client, _):
            for symbol in venue.symbols.values():
                client.trades[symbol] = Tap(1)
            watching = asyncio.gather(*(client.watch_trades(symbol, params={}) for symbol in venue.symbols.values()))
            await asyncio.wait_for(done.wait(), 60)
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    asyncio.run(run())
    assert len(trades) == len(expected) == kind.counts["trades"]
    assert got.keys() == expected.keys()
    for key, trade in expected.items():
        parsed = got[key]
        assert (parsed["timestamp"], parsed["price"], parsed["amount"]) == (trade.time_ms, trade.price, trade.qty)
        assert SIDES[parsed["side"]] == trade.side


def follow(venue, session):
    """Plays the books frame by frame to ccxt and beside it; the books, how many updates were compared, how many crossed."""
    books, compared, crossed = {}, 0, 0

    async def run():
        nonlocal compared, crossed
        async with connected(venue, session) as (client, connection):
            venue.prepare(connection)
            for frame in session.frames[venue.path]:
                update = venue.book(frame)
                at = update.market if update else None
                if at in venue.early and at not in books:
                    symbol = venue.symbols[at]
                    client.orderbooks[symbol].reset(await client.fetch_order_book(symbol, 100))
                told(connection, venue.frame(frame))
                if update is None:
                    continue
                symbol = venue.symbols[at]
                if at not in books:
                    books[at] = Levels()
                    if venue.rest and at not in venue.early:
                        await asyncio.wait_for(connection.future(f"orderbook:{symbol}"), 60)
                followed(venue, session, books[at], update)
                for side in BOTH:
                    assert [tuple(level[:2]) for level in client.orderbooks[symbol][side]] == books[at].best(side)
                compared += 1
                bids, asks = (books[at].best(side, 1) for side in BOTH)
                crossed += bool(bids and asks and bids[0][0] >= asks[0][0])

    asyncio.run(run())
    return books, compared, crossed


def followed(venue, session, book, update):
    """Apply an update; before the first one what REST had, where books come so. It must follow on the one before it."""
    if venue.rest and book.last < 0:
        book.apply(venue.snapshot(session, update.market))
    if not venue.rest or update.last > book.last:
        assert update.before is None or update.before <= book.last
        book.apply(update)


@EVERY_VENUE
def test_books_that_ccxt_keeps_are_those_of_the_messages(kind, market_data):
    venue = kind()
    books, compared, crossed = follow(venue, venue.session(market_data))
    assert (compared, crossed) == (kind.counts["books"], 0)
    assert len(books) == {"bitfinex": 7, "bitstamp": 9, "deribit": 10, "gate": 10, "kucoin": 9}[kind.client]
    assert sum(bool(book.bids and book.asks) for book in books.values()) >= 7


@pytest.mark.parametrize("kind", [kind for kind in VENUES if kind.counts["tickers"]], ids=lambda kind: kind.client)
def test_every_ticker(kind, market_data):
    venue, parsed = kind(), 0
    session = venue.session(market_data)

    async def run():
        nonlocal parsed
        async with connected(venue, session) as (client, connection):
            for frame in session.frames[venue.path]:
                ticker = venue.ticker(frame)
                told(connection, venue.frame(frame))
                if ticker is not None:
                    name, said = ticker
                    kept = client.tickers[venue.symbols[name]]
                    assert {name: kept[name] for name in said} == said
                    parsed += 1

    asyncio.run(run())
    assert parsed == kind.counts["tickers"]


def test_tickers_of_kucoin_have_the_best_of_the_book_of_their_sequence(market_data):
    venue, books, compared = Kucoin(), {}, 0
    session = venue.session(market_data)
    for frame in session.frames[venue.path]:
        if update := venue.book(frame):
            followed(venue, session, books.setdefault(update.market, Levels()), update)
        ticker = venue.ticker(frame)
        if ticker and ticker[0] in books and books[ticker[0]].last == int(frame["data"]["sequence"]):
            (name, said), compared = ticker, compared + 1
            best = [books[name].best(side, 1)[0] for side in BOTH]
            assert best == [(said["bid"], said["bidVolume"]), (said["ask"], said["askVolume"])]
    assert compared > 700


def signs(kind, market_data):
    """The side of each trade, times the sign of its price less the middle of the book that was told before it."""
    venue, books, found = kind(), {}, []
    session = venue.session(market_data)
    for frame in session.frames[venue.path]:
        for trade in venue.trades(frame):
            if trade.market in books:
                middle = sum(books[trade.market].best(side, 1)[0][0] for side in BOTH) / 2
                found.append(trade.side * ((trade.price > middle) - (trade.price < middle)))
        if update := venue.book(frame):
            followed(venue, session, books.setdefault(update.market, Levels()), update)
    return found


@pytest.mark.parametrize(("kind", "count", "total"), [(Bitstamp, 10, 10), (Gate, 9, 5), (Kucoin, 18, 12)])
def test_takers_who_buy_trade_above_the_middle(kind, count, total, market_data):
    """The sign test, of far fewer trades than the five hundred that make it a proof. Bitfinex told its trades before its books."""
    found = signs(kind, market_data)
    assert (len(found), sum(found)) == (count, total)
    assert signs(Bitfinex, market_data) == []


def test_takers_of_bitstamp_have_the_younger_order(market_data):
    venue = Bitstamp()
    frames = [frame for frame in venue.session(market_data).frames[venue.path] if frame["event"] == "trade"]
    for frame in frames:
        (trade,), orders = venue.trades(frame), frame["data"]
        assert trade.side == (1 if orders["buy_order_id"] > orders["sell_order_id"] else -1)
    assert len(frames) == 10


def test_numbered_messages_of_bitfinex_are_no_trades_to_ccxt(market_data):
    """A client that asks for numbers (conf 65536) gets three fields; ccxt does not ask, and takes a snapshot for one trade."""
    venue = Bitfinex()
    session = venue.session(market_data)
    numbered = [frame for frame in session.frames[venue.path] if isinstance(frame, list)]
    assert [frame[-1] for frame in numbered] == list(range(1, len(numbered) + 1))

    async def run():
        async with connected(venue, session) as (client, connection):
            for frame in session.frames[venue.path]:
                told(connection, frame)
            return [trade for kept in client.trades.values() for trade in kept]

    trades = asyncio.run(run())
    assert [(trade["id"], trade["timestamp"], trade["price"]) for trade in trades] == [(None, None, None)] * 7


def test_deribit_was_asked_for_trades_and_had_none(market_data):
    venue = Deribit()
    acknowledged, *frames = venue.session(market_data).frames[venue.path]
    assert sum(name.startswith("trades.") for name in acknowledged["result"]) == len(venue.symbols)
    assert {frame["params"]["channel"].partition(".")[0] for frame in frames} == {"ticker", "book"}


def test_open_interest_and_mark_prices_of_deribit(market_data):
    venue, count = Deribit(), 0
    session = venue.session(market_data)

    async def run():
        nonlocal count
        async with connected(venue, session) as (client, connection):
            for frame in session.frames[venue.path]:
                told(connection, frame)
                if venue.ticker(frame) is None:
                    continue
                data, count = frame["params"]["data"], count + 1
                ticker = client.tickers[venue.symbols[data["instrument_name"]]]
                assert (ticker["markPrice"], ticker["indexPrice"]) == (data["mark_price"], data["index_price"])
                interest = client.parse_open_interest(data)
                assert interest["openInterestAmount"] == data["open_interest"]
                assert interest["symbol"] == ticker["symbol"]

    asyncio.run(run())
    assert count == venue.counts["tickers"]


def test_books_of_gate_as_it_was_recorded_are_none_to_ccxt(market_data):
    """Two fields are missing: the `current` of a book by REST, and the ids of acknowledgements, without which none is begun."""
    venue = Gate()
    session = venue.session(market_data)
    session.answers = super(Gate, venue).session(market_data).answers

    async def run():
        async with connected(venue, session) as (client, connection):
            with pytest.raises(ccxt.ExchangeError, match="missing timestamp"):
                await client.fetch_order_book("NEO/BTC", 100)
            for frame in session.frames[venue.path]:
                told(connection, frame)
            return list(client.orderbooks)

    assert asyncio.run(run()) == []


def test_a_book_of_gate_that_ends_just_before_its_first_update_is_refused(market_data):
    """By the venue an update may follow on a snapshot whose next one it begins with (U <= id + 1); ccxt wants U <= id."""
    venue = Gate()
    session = venue.session(market_data)
    updates = [(frame, venue.book(frame)) for frame in session.frames[venue.path]]
    frame, first = next((frame, update) for frame, update in updates if update and update.market == "DIS_USDT")
    assert first.before == venue.snapshot(session, "DIS_USDT").last

    async def run():
        async with connected(venue, session) as (_, connection):
            venue.prepare(connection)
            for acknowledged in session.frames[venue.path][:40]:
                if acknowledged["event"] == "subscribe":
                    told(connection, venue.frame(acknowledged))
            told(connection, frame)
            await asyncio.wait_for(connection.future("orderbook:DIS/USDT"), 60)

    with pytest.raises(ccxt.ExchangeError, match="nonce is behind the cache"):
        asyncio.run(run())


def test_candles_of_gate_and_kucoin(market_data):
    """Of Kucoin a candle's first message (`trade.candles.add`) has no handler in ccxt; what follows (`update`) has one."""

    def candles(venue):
        session = venue.session(market_data)

        async def run():
            async with connected(venue, session) as (client, connection):
                for frame in session.frames[venue.path]:
                    told(connection, venue.frame(frame))
                return {symbol: [row[:5] for row in kept["1m"]] for symbol, kept in client.ohlcvs.items()}

        return session.frames[venue.path], asyncio.run(run())

    frames, kept = candles(Gate())
    expected = {}
    for candle in (frame["result"] for frame in frames if (frame["channel"], frame["event"]) == CANDLES):
        symbol = candle["n"].removeprefix("1m_").replace("_", "/")
        expected.setdefault(symbol, {})[int(candle["t"])] = [
            int(candle["t"]) * 1_000,
            *(float(candle[at]) for at in "ohlc"),
        ]
    assert kept == {symbol: list(rows.values()) for symbol, rows in expected.items()}
    assert len(kept) > 3

    frames, kept = candles(Kucoin())
    subjects = [frame.get("subject", "") for frame in frames]
    assert (subjects.count("trade.candles.add"), subjects.count("trade.candles.update")) == (5, 1)
    assert kept == {"DAPPT/BTC": [[1_619_378_280_000, 1.117e-07, 1.126e-07, 1.117e-07, 1.126e-07]]}
