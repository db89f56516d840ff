"""Books of the local exchange: streams, snapshots and best prices tell of one book, which follows from time and trades alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from simulator_clients import (
    LINEAR,
    SPOT,
    START_NS,
    by_hand,
    get_json,
    heard,
    loopback_only,  # noqa: F401
    socket_to,
    symbol_of,
    unified,
)

from connectors.simulator.books import BookModel
from connectors.simulator.followed import FollowedBook
from events.times import SECOND_NS

pytestmark = pytest.mark.usefixtures("loopback_only")
BINANCE = pytest.mark.parametrize("instrument", [SPOT, LINEAR])
SOCKETS = {SPOT: "/stream/ws/0", LINEAR: "/fws/public/ws/0"}
DEPTHS = {SPOT: "/api/v3/depth", LINEAR: "/fapi/v1/depth"}


async def told_since(ws):
    """All frames of streams that were sent until now."""
    await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 77})
    frames = []
    while (message := await heard(ws)) != {"result": None, "id": 77}:
        frames.append(message)
    return frames


def subscribe(instrument, *streams):
    return {"method": "SUBSCRIBE", "params": [f"btcusdt@{name}" for name in streams], "id": 1}


async def snapshot(exchange, instrument, limit=1_000):
    return await get_json(exchange, DEPTHS[instrument], symbol="BTCUSDT", limit=limit)


@asynccontextmanager
async def moving(exchange, seconds=0.05):
    """Time passes while other things happen."""

    async def move():
        while True:
            await asyncio.to_thread(exchange.advance, seconds)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(move())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Kept:
    """A book as a client keeps it."""

    def __init__(self, told):
        self.id = told["lastUpdateId"]
        self.sides = {"b": dict(told["bids"]), "a": dict(told["asks"])}

    def update(self, frame):
        for side, levels in self.sides.items():
            for price, qty in frame[side]:
                levels[price] = qty
                if not float(qty):
                    del levels[price]
        self.id = frame["u"]

    def levels(self):
        """Bids and asks, the best ones first."""
        bids = sorted(self.sides["b"].items(), key=lambda level: -float(level[0]))
        return bids, sorted(self.sides["a"].items(), key=lambda level: float(level[0]))

    @property
    def best(self):
        bids, asks = self.levels()
        return [*bids[0], *asks[0]]


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, "binance:DOGE/USDT", "kraken:BTC/USD"])
@pytest.mark.parametrize("pace_ns", [10_000_000, 370_000_000, 3 * SECOND_NS])
def test_a_followed_book_is_that_of_the_model(instrument, pace_ns):
    exchange = by_hand(instrument, activity=30, history_days=0.01)
    (ledger,) = exchange._world.ledgers.values()
    model, now_ns = BookModel(ledger, 1), START_NS
    followed = FollowedBook(model, now_ns)
    for _ in range(100):
        now_ns += pace_ns
        changes = list(followed.advance(now_ns, ledger.until(now_ns)))
        step = model.step_at(now_ns)
        assert (followed.bids, followed.asks) == model.book(step, ledger.next_id)
        assert followed.update_id == model.update_id(step, ledger.next_id)
        bids, asks = list(followed.bids), list(followed.asks)
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert min(len(bids), len(asks)) >= 100
        assert bids[0] <= model.last(ledger.next_id).tick <= asks[0] != bids[0]
        assert all(change.bids or change.asks for change in changes)


@BINANCE
def test_a_stream_keeps_every_snapshot_up_to_date_level_by_level(instrument):
    async def run():
        with by_hand(instrument, activity=20, history_days=0.01) as exchange:
            async with socket_to(exchange, SOCKETS[instrument], subscribe(instrument, "depth@100ms")) as ws:
                assert await heard(ws) == {"result": None, "id": 1}
                kept, compared = [], 0
                for seconds in [0.037] * 60 + [0.2, 5.0] + [0.037] * 60:
                    exchange.advance(seconds)
                    told = Kept(await snapshot(exchange, instrument))
                    for frame in await told_since(ws):
                        for one in kept:
                            one.update(frame)
                    for one in kept:
                        if one.id == told.id:
                            compared += 1
                            assert one.levels() == told.levels()
                    kept.append(told)
                assert len(exchange.traded(instrument)) > 50
                assert compared > 1_000

    asyncio.run(run())


@BINANCE
@pytest.mark.parametrize("name", ["depth@100ms", "depth", "depth@500ms"])
def test_update_ids_are_one_chain(instrument, name):
    async def run():
        with by_hand(instrument, activity=20, history_days=0.01) as exchange:
            async with socket_to(exchange, SOCKETS[instrument], subscribe(instrument, name)) as ws:
                await heard(ws)
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
        with by_hand(instrument, activity=20, history_days=0.01) as exchange:
            message = subscribe(instrument, "bookTicker", "depth@100ms")
            async with socket_to(exchange, SOCKETS[instrument], message) as ws:
                await heard(ws)
                kept, compared = Kept(await snapshot(exchange, instrument)), 0
                exchange.advance(30)
                frames = await told_since(ws)
        best = {one["u"]: [one["b"], one["B"], one["a"], one["A"]] for one in frames if "B" in one}
        for frame in frames:
            if "U" in frame and frame["u"] >= min(best):
                kept.update(frame)
                newest = best[max(u for u in best if u <= kept.id)]
                assert kept.best == newest
                assert float(newest[0]) < float(newest[2])
                compared += 1
        assert compared > 250
        assert len(best) > 100
        assert len(set(best) & {frame["u"] for frame in frames if "U" in frame}) > 50

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
        with by_hand(instrument, activity=20, history_days=0.01, seed=seed) as exchange:
            async with socket_to(exchange, SOCKETS[instrument], subscribe(instrument, "depth@100ms")) as ws:
                await heard(ws)
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


@pytest.mark.parametrize(("client", "instrument"), [("binance", SPOT), ("binance", LINEAR), ("binanceusdm", LINEAR)])
def test_ccxt_keeps_the_book_of_rest(client, instrument):
    async def run():
        symbol = symbol_of(instrument)
        with by_hand(activity=20, history_days=0.01) as exchange:
            async with unified(exchange, client, enableRateLimit=False) as c:
                compared = 0
                async with moving(exchange):
                    while compared < 20:
                        book = await c.watch_order_book(symbol)
                        if book["nonce"] is None:
                            continue
                        told = await snapshot(exchange, instrument)
                        if book["nonce"] == told["lastUpdateId"]:
                            compared += 1
                            for side in ("bids", "asks"):
                                assert [list(level) for level in book[side]] == [
                                    [float(price), float(qty)] for price, qty in told[side]
                                ]

    asyncio.run(asyncio.wait_for(run(), 60))
