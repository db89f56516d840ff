"""Faults of books: each is seen in what a client is told, is counted, and heals."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import ccxt
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
    by_hand,
    loopback_only,  # noqa: F401
    symbol_of,
    unified,
)

pytestmark = pytest.mark.usefixtures("loopback_only")
BINANCE = pytest.mark.parametrize("instrument", [SPOT, LINEAR])


def lively(*instruments):
    return by_hand(*instruments, activity=20, history_days=0.01)


def happened(exchange, name, venue="binance"):
    return exchange.venues[venue].faults.happened[name]


async def equal_to_rest(client, exchange, instrument, times):
    """Watch until the book was that of REST so many times; how often watching failed until then."""
    compared = failed = 0
    while compared < times:
        try:
            book = await client.watch_order_book(symbol_of(instrument))
        except ccxt.NetworkError:
            failed += 1
            await asyncio.sleep(
                0.01
            )  # an error that nobody waited for comes at once, again and again, until ccxt has a book
            continue
        told = await snapshot(exchange, instrument)
        if book["nonce"] == told["lastUpdateId"]:
            compared += 1
            assert [list(level) for level in book["bids"]] == numbers(told["bids"])
            assert [list(level) for level in book["asks"]] == numbers(told["asks"])
    return failed


@BINANCE
def test_stale_depth(instrument):
    async def run():
        with lively(instrument) as exchange:
            exchange.advance(10)
            before = await snapshot(exchange, instrument)
            exchange.advance(5)
            exchange.fault("stale-depth")
            assert await snapshot(exchange, instrument) == before
            assert (await snapshot(exchange, instrument))["lastUpdateId"] > before["lastUpdateId"]
            exchange.fault("stale-depth", 2)
            async with unified(exchange, "binance", enableRateLimit=False) as c, moving(exchange):
                assert await equal_to_rest(c, exchange, instrument, 3) >= 1  # ccxt sees it, asks again, and heals
            assert happened(exchange, "stale-depth") == 3

    asyncio.run(asyncio.wait_for(run(), 60))


def test_stale_depth_of_kraken():
    async def run():
        with lively(KRAKEN) as exchange:
            exchange.advance(10)
            before = await kraken_depth(exchange)
            exchange.advance(5)
            exchange.fault("stale-depth")
            assert await kraken_depth(exchange) == before != await kraken_depth(exchange)

    asyncio.run(run())


@BINANCE
def test_sequence_skip(instrument):
    async def run():
        with lively(instrument) as exchange:
            async with listening(exchange, instrument, "depth@100ms") as ws:
                exchange.advance(1)
                exchange.fault("sequence-skip", 2)
                exchange.advance(1)
                frames = await told_since(ws)
            assert len(frames) == 18
            holes = [(a["u"], b["U"]) for a, b in pairwise(frames) if a["u"] + 1 != b["U"]]
            assert len(holes) == 1  # both at once: ids are left out with them
            assert frames[10].get("pu", holes[0][1] - 1) == holes[0][1] - 1
            assert happened(exchange, "sequence-skip") == 2
            async with unified(exchange, "binance", enableRateLimit=False) as c, moving(exchange):
                assert await equal_to_rest(c, exchange, instrument, 2) == 0
                exchange.fault("sequence-skip")
                assert await equal_to_rest(c, exchange, instrument, 5) >= 1  # ccxt sees the hole, and heals
            assert happened(exchange, "sequence-skip") == 3

    asyncio.run(asyncio.wait_for(run(), 60))


def test_sequence_skip_of_kraken_shows_in_the_checksum():
    async def run():
        with lively(KRAKEN) as exchange:
            async with listening_to_kraken(exchange, channel="book", depth=10) as ws:
                kept = KrakenBook(10)
                exchange.advance(2)
                for frame in await told_since(ws):
                    kept.update(frame)
                exchange.fault("sequence-skip", 3)
                exchange.advance(2)
                frames = await told_since(ws)
                with pytest.raises(AssertionError, match="checksum"):
                    kept.update_all(frames)
            async with listening_to_kraken(exchange, channel="book", depth=10) as ws:
                kept = KrakenBook(10)
                exchange.advance(2)
                for frame in await told_since(ws):
                    kept.update(frame)
                assert kept.sorted() == await kraken_depth(exchange, 10)
            assert happened(exchange, "sequence-skip", "kraken") == 3

    asyncio.run(run())


async def crossed_for(ws, kept, exchange):
    """In which of the frames of four seconds a book is crossed."""
    exchange.advance(1)
    exchange.fault("crossed-book")
    exchange.advance(3)
    crossed = []
    for frame in await told_since(ws):
        kept.update(frame)
        crossed.append(kept.crossed)
    return crossed


@BINANCE
def test_crossed_book(instrument):
    async def run():
        with by_hand(instrument) as exchange:
            async with listening(exchange, instrument, "depth@100ms") as ws:
                kept = BinanceBook(await snapshot(exchange, instrument))
                crossed = await crossed_for(ws, kept, exchange)
                told = BinanceBook(await snapshot(exchange, instrument))
                assert (kept.id, kept.sorted()) == (told.id, told.sorted())
            assert crossed == [False] * 10 + [True] * 10 + [False] * 20
            assert happened(exchange, "crossed-book") == 1

    asyncio.run(run())


def test_crossed_book_of_kraken():
    async def run():
        with by_hand(KRAKEN) as exchange:
            async with listening_to_kraken(exchange, channel="book", depth=25) as ws:
                kept = KrakenBook(25)
                crossed = await crossed_for(ws, kept, exchange)
                assert kept.sorted() == await kraken_depth(exchange, 25)
            first = crossed.index(True)
            assert 5 < sum(crossed) <= 10
            assert crossed[first : first + sum(crossed)] == [True] * sum(crossed)

    asyncio.run(run())


@BINANCE
def test_muted_depth(instrument):
    async def run():
        with lively(instrument) as exchange:
            async with listening(exchange, instrument, "depth@100ms", "aggTrade", "bookTicker") as ws:
                exchange.fault("muted-depth")
                exchange.advance(5)
                kinds = {frame.get("e", "bookTicker") for frame in await told_since(ws)}
                assert kinds == {"aggTrade", "bookTicker"}
                exchange.clear("muted-depth")
                exchange.advance(1)
                frames = [frame for frame in await told_since(ws) if frame.get("e") == "depthUpdate"]
            assert len(frames) == 10
            assert happened(exchange, "muted-depth") == 50

    asyncio.run(run())


def test_muted_depth_of_kraken():
    async def run():
        with lively(KRAKEN) as exchange:
            async with listening_to_kraken(exchange, channel="book", depth=100) as ws:
                exchange.fault("muted-depth")
                exchange.advance(5)
                assert [frame["type"] for frame in await told_since(ws)] == ["snapshot"]
                exchange.clear("muted-depth")
                exchange.advance(1)
                assert {frame["type"] for frame in await told_since(ws)} == {"update"}

    asyncio.run(run())
