"""Books of the local exchange: streams, snapshots and best prices tell of one book, which follows from time and trades alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from simulator_books import (
    BinanceBook,
    KrakenBook,
    kraken_depth,
    listening,
    listening_to_kraken,
    moving,
    numbers,
    snapshot,
    told_since,
)
from simulator_clients import (
    KRAKEN,
    LINEAR,
    SPOT,
    START_NS,
    by_hand,
    get_json,
    loopback_only,  # noqa: F401
    symbol_of,
    unified,
)

from connectors.simulator.book_model import BookModel
from events.times import SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
BINANCE = pytest.mark.parametrize("instrument", [SPOT, LINEAR])
CLIENTS = [("binance", SPOT), ("binance", LINEAR), ("binanceusdm", LINEAR)]


def lively(*instruments, **given):
    """An exchange by hand at which there are about two trades in three seconds for every usual one in a minute."""
    return by_hand(*instruments, **{"activity": 20, "history_days": 0.01} | given)


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, "binance:DOGE/USDT", KRAKEN])
@pytest.mark.parametrize("pace_ns", [10_000_000, 370_000_000, 3 * SECOND_NS])
def test_a_followed_book_is_that_of_the_model(instrument, pace_ns):
    exchange = lively(instrument)
    (ledger,) = exchange._world.ledgers.values()
    model, now_ns = BookModel(ledger, 1), START_NS
    followed = model.follow(now_ns)
    for _ in range(100):
        now_ns += pace_ns
        changes = list(followed.advance(now_ns, ledger.until(now_ns)))
        assert (followed.update_id, followed.bids, followed.asks) == model.at(now_ns, ledger.next_id)
        bids, asks = list(followed.bids), list(followed.asks)
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert min(len(bids), len(asks)) >= 100
        assert bids[0] <= model.last(ledger.next_id).tick <= asks[0] != bids[0]
        assert all(change.bids or change.asks for change in changes)


@BINANCE
def test_a_stream_keeps_every_snapshot_up_to_date_level_by_level(instrument):
    async def run():
        with lively(instrument) as exchange:
            async with listening(exchange, instrument, "depth@100ms") as ws:
                kept, compared = [], 0
                for seconds in [0.037] * 60 + [0.2, 5.0] + [0.037] * 60:
                    exchange.advance(seconds)
                    told = BinanceBook(await snapshot(exchange, instrument))
                    for frame in await told_since(ws):
                        for one in kept:
                            one.update(frame)
                    for one in kept:
                        if one.id == told.id:
                            compared += 1
                            assert one.sorted() == told.sorted()
                    kept.append(told)
                assert len(exchange.traded(instrument)) > 50
                assert compared > 1_000

    asyncio.run(run())


@BINANCE
@pytest.mark.parametrize("name", ["depth@100ms", "depth", "depth@500ms"])
def test_update_ids_are_one_chain(instrument, name):
    async def run():
        with lively(instrument) as exchange:
            async with listening(exchange, instrument, name) as ws:
                exchange.advance(20)
                exchange.burst(instrument, 300)
                exchange.advance(20)
                frames = await told_since(ws)
        if (instrument, name) == (SPOT, "depth@500ms"):
            assert frames == []  # it is a stream of USD-M alone
            return
        interval_ms = {"depth@100ms": 100, "depth@500ms": 500, "depth": 250 if instrument == LINEAR else 1_000}[name]
        assert len(frames) == pytest.approx(40_000 / interval_ms, abs=1)
        for before, frame in pairwise(frames):
            assert frame["U"] == before["u"] + 1 <= frame["u"]
            assert frame.get("pu") == (before["u"] if instrument == LINEAR else None)
            assert frame.get("T") == (frame["E"] if instrument == LINEAR else None)
            assert frame["E"] - before["E"] == pytest.approx(interval_ms, abs=50)
            assert frame["b"] or frame["a"]

    asyncio.run(run())


@BINANCE
def test_the_best_prices_are_those_of_the_book_with_that_update_id(instrument):
    async def run():
        with lively(instrument) as exchange:
            async with listening(exchange, instrument, "bookTicker", "depth@100ms") as ws:
                kept, compared = BinanceBook(await snapshot(exchange, instrument)), 0
                exchange.advance(30)
                frames = await told_since(ws)
        best = {one["u"]: [one["b"], one["B"], one["a"], one["A"]] for one in frames if "B" in one}
        updates = [frame for frame in frames if "U" in frame]
        for frame in updates:
            kept.update(frame)
            told = [u for u in best if u <= kept.id]
            if told:
                assert kept.best == best[max(told)]
                assert not kept.crossed
                compared += 1
        assert compared > 250
        assert len(best) > 100
        assert len(set(best) & {frame["u"] for frame in updates}) > 50

    asyncio.run(run())


def test_a_trade_takes_from_the_level_where_it_was():
    async def run():
        with by_hand(SPOT) as exchange:
            exchange.trade(SPOT, 50_000.0, 1.0, -1)
            exchange.advance(1)
            (price, before), *_ = (await snapshot(exchange, SPOT))["bids"]
            exchange.trade(SPOT, 50_000.0, round(float(before) / 4, 5), -1)
            (_, after), *_ = (await snapshot(exchange, SPOT))["bids"]
            assert (price, float(after)) == ("50000.00", pytest.approx(0.75 * float(before), abs=2e-5))
            exchange.trade(SPOT, 50_010.0, 1_000.0, 1)
            told = await snapshot(exchange, SPOT)
            assert told["asks"][0] == ["50010.00", "0.00001"]
            assert 50_000 < float(told["bids"][0][0]) < 50_010
            exchange.advance(0.1)
            assert float((await snapshot(exchange, SPOT))["asks"][0][1]) > 0.00001

    asyncio.run(run())


@BINANCE
def test_the_same_seed_is_the_same_book_however_time_passes(instrument):
    async def told(paces, seed=1):
        with lively(instrument, seed=seed) as exchange:
            async with listening(exchange, instrument, "depth@100ms") as ws:
                for seconds in paces:
                    exchange.advance(seconds)
                return await told_since(ws), await snapshot(exchange, instrument)

    async def run():
        at_once = await told([12.0])
        assert await told([0.01] * 1_200) == at_once
        assert await told([12.0], seed=2) != at_once
        assert len(at_once[0]) == 120

    asyncio.run(run())


@BINANCE
@pytest.mark.parametrize(("limit", "levels"), [(5, 5), (20, 20), (1000, 192)])
def test_a_snapshot_has_as_many_levels_as_asked_for(instrument, limit, levels):
    async def run():
        with by_hand(instrument) as exchange:
            told = await snapshot(exchange, instrument, limit)
            assert (len(told["bids"]), len(told["asks"])) == (levels, levels)
            assert ("E" in told, "T" in told) == (instrument == LINEAR, instrument == LINEAR)

    asyncio.run(run())


@pytest.mark.parametrize(("client", "instrument"), CLIENTS)
def test_ccxt_keeps_the_book_of_binance(client, instrument):
    async def run():
        with lively() as exchange:
            async with unified(exchange, client, enableRateLimit=False) as c, moving(exchange):
                compared = 0
                while compared < 20:
                    book = await c.watch_order_book(symbol_of(instrument))
                    told = await snapshot(exchange, instrument)
                    if book["nonce"] == told["lastUpdateId"]:
                        compared += 1
                        assert [list(level) for level in book["bids"]] == numbers(told["bids"])
                        assert [list(level) for level in book["asks"]] == numbers(told["asks"])

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("depth", [10, 25, 100, 1000])
def test_a_channel_of_kraken_keeps_the_book_of_rest(depth):
    async def run():
        with lively(KRAKEN) as exchange:
            async with listening_to_kraken(exchange, channel="book", depth=depth) as ws:
                kept, frames, compared = KrakenBook(depth), [], 0
                for seconds in [0.037] * 40 + [0.5, 10.0]:
                    frames = await told_since(ws)
                    compared += len(frames)
                    for frame in frames:
                        kept.update(frame)
                    assert kept.sorted() == [side[:depth] for side in await kraken_depth(exchange)]
                    exchange.advance(seconds)
                assert len(exchange.traded(KRAKEN)) > 100
                assert compared > 15

    asyncio.run(run())


def test_channels_of_kraken_say_what_they_are():
    async def run():
        with by_hand(KRAKEN) as exchange:
            async with listening_to_kraken(exchange, channel="book") as ws:
                (first,) = await told_since(ws)
                assert (first["type"], len(first["data"][0]["bids"])) == ("snapshot", 10)  # its default
                for given, error in [
                    ({"channel": "book", "depth": 11}, "Subscription depth not supported"),
                    ({"channel": "ticker", "event_trigger": "all"}, "Subscription event_trigger not supported"),
                    ({"channel": "ohlc"}, "Channel ohlc is not simulated"),
                ]:
                    await ws.send_json({"method": "subscribe", "params": {"symbol": ["BTC/USD"], **given}})
                    (answer,) = await told_since(ws)
                    assert (answer["error"], answer["success"]) == (error, False)
                await ws.send_json({"method": "unsubscribe", "params": {"symbol": ["BTC/USD"], "channel": "book"}})
                (answer,) = await told_since(ws)
                assert answer["result"] == {"channel": "book", "symbol": "BTC/USD", "depth": 10}
                exchange.advance(1)
                assert await told_since(ws) == []

    asyncio.run(run())


@pytest.mark.parametrize("depth", [10, 100])
def test_ccxt_keeps_the_book_of_kraken(depth):
    async def run():
        with lively(KRAKEN) as exchange:
            async with unified(exchange, "kraken", enableRateLimit=False) as c:
                await c.watch_order_book("BTC/USD", depth)
                for _ in range(20):
                    watching = asyncio.create_task(c.watch_order_book("BTC/USD", depth))
                    exchange.advance(0.21)
                    await watching
                    wanted = [numbers(side[:depth]) for side in await kraken_depth(exchange)]
                    book = c.orderbooks["BTC/USD"]
                    while [[list(level) for level in book[side]] for side in ("bids", "asks")] != wanted:
                        await c.watch_order_book("BTC/USD", depth)  # what was told in that time is not all read yet

    asyncio.run(asyncio.wait_for(run(), 60))


def test_ccxt_has_the_ticker_of_kraken():
    async def run():
        with by_hand(KRAKEN, history_days=1, activity=1) as exchange:
            async with unified(exchange, "kraken", enableRateLimit=False) as c:
                told = await c.watch_ticker("BTC/USD")
                asked = await c.fetch_ticker("BTC/USD")
                for name in ("last", "bid", "ask", "bidVolume", "askVolume", "high", "low", "vwap", "baseVolume"):
                    assert told[name] == asked[name], name
                watching = asyncio.create_task(c.watch_ticker("BTC/USD"))
                await asyncio.sleep(0)
                exchange.trade(KRAKEN, 50_000.0, 2.0, -1)
                after = await watching
                assert (after["last"], after["bid"]) == (50_000.0, 50_000.0)
                assert after["baseVolume"] == pytest.approx(told["baseVolume"] + 2.0)
                assert set(await c.fetch_tickers()) == {"BTC/USD"}
            async with unified(exchange, "kraken", enableRateLimit=False) as c:
                best = (await c.watch_bids_asks(["BTC/USD"]))["BTC/USD"]
                ((bid, _), *_), ((ask, _), *_) = await kraken_depth(exchange, 1)
                assert (best["bid"], best["ask"]) == (float(bid), float(ask))
            assert (await get_json(exchange, "/0/public/Ticker", pair="nothing"))["error"]

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_ticker_of_kraken_follows_trades_or_the_best_prices():
    async def run():
        with lively(KRAKEN) as exchange:
            async with (
                listening_to_kraken(exchange, channel="ticker") as trades,
                listening_to_kraken(exchange, channel="ticker", event_trigger="bbo") as bbo,
            ):
                exchange.advance(20)
                by_trade, by_best = await told_since(trades), await told_since(bbo)
                ((bid, bid_qty),), ((ask, ask_qty),) = await kraken_depth(exchange, 1)
        times = set(exchange.traded(KRAKEN)["available_at"].tolist())
        assert len(by_trade) == 1 + len(times)
        best = [[frame["data"][0][name] for name in ("bid", "bid_qty", "ask", "ask_qty")] for frame in by_best]
        assert all(before != after for before, after in pairwise(best[1:]))
        assert numbers([best[-1][:2], best[-1][2:]]) == numbers([(bid, bid_qty), (ask, ask_qty)])
        assert len(best) > len(times)

    asyncio.run(run())
