"""Recorded sessions of books: read past ccxt, followed without a break; the book made of the rows is the one that ccxt keeps."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import WSMessage, WSMsgType
from books_bench import Follower, binance_texts, bybit_texts, coinbase_texts, kraken_texts, ob500_texts, okx_texts
from recorded_sessions import Session, market, played
from simulator_clients import loopback_only  # noqa: F401

from connectors.exchange.book_frames import READERS
from connectors.exchange.book_state import BookState
from connectors.exchange.book_venues import BOOK_VENUES
from connectors.exchange.books import snapshot_of
from connectors.exchange.client import make_client
from connectors.exchange.venues import VENUES
from events.schema import BOOK_SNAPSHOT

pytestmark = [pytest.mark.data, pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
DEEP = 60_000  # no level is let go, since ccxt lets none go
TOP = 20


def session_of(market_data, name):
    return Session(market_data / "cryptofeed" / "jsonl_zst" / f"{name}.jsonl.zst")


class Both:
    """The books of some markets, followed here and kept by ccxt, frame by frame."""

    def __init__(self, exchange, client, connection, markets):
        self.exchange, self.client, self.connection = exchange, client, connection
        self.markets = {one["symbol"] if exchange == "kraken" else one["id"]: one for one in markets}
        self.venue = BOOK_VENUES[exchange]
        self.followers = {
            name: Follower(BookState(self.venue.pushed, DEEP, self.venue.digits(one)), VENUES[exchange].reader(one))
            for name, one in self.markets.items()
        }
        self.snapshots, self.breaks, self.compared = {}, 0, 0

    async def fetch(self):
        """What REST had when the session began, where snapshots come over REST."""
        for name, one in self.markets.items():
            if not self.venue.pushed:
                self.snapshots[name] = snapshot_of(name, await self.client.fetch_order_book(one["symbol"], 1_000))
                self.client.orderbooks[one["symbol"]] = self.client.order_book({}, DEEP)

    async def play(self, texts, every):
        """Play frames; of every so many the whole books are compared, of each the best levels."""
        for number, text in enumerate(texts):
            (update,) = READERS[self.exchange](text)
            name, follower = update.market, self.followers[update.market]
            assert follower.take(update)
            self.connection.handle_message(WSMessage(WSMsgType.TEXT, text, None))
            if name in self.snapshots and update.last > self.snapshots[name].last:
                assert follower.take(self.snapshots.pop(name))
                one = self.markets[name]
                told = {
                    "symbol": one["symbol"],
                    "type": "spot" if one["spot"] else "linear",
                    "limit": 1_000,
                    "params": {},
                }
                await self.client.fetch_order_book_snapshot(self.connection, None, told)
            if name not in self.snapshots:
                self.breaks += not follower.state.synced
                self._compare(name, follower, whole=number % every == 0)

    def _compare(self, name, follower, whole):
        """The sides as they are followed, as ccxt keeps them, and as they come out of rows, in base units."""
        theirs, n = self.client.orderbooks[self.markets[name]["symbol"]], DEEP if whole else TOP
        for side, kept, rebuilt in zip(
            ("bids", "asks"), (follower.state.bids, follower.state.asks), follower.rebuilt.best(n)
        ):
            ours = kept.best(n)
            assert [tuple(level[:2]) for level in theirs[side][:n]] == ours
            assert rebuilt == [(price, follower.read.base(qty, price)) for price, qty in ours]
        self.compared += 1


def follow(exchange, session, markets, texts, every=1):
    """Frames of books, here and by way of ccxt; the books in the end."""

    async def run():
        async with played(session, next(iter(session.frames)), lambda frame: None) as url:
            address = url.removeprefix("http://")
            client = make_client(exchange, [one["symbol"] for one in markets], address)
            try:
                client.set_markets(markets)
                urls = {"binance": "/stream/ws/0" if markets[0]["spot"] else "/fws/public/ws/0", "kraken": "/v2"}
                path = urls.get(exchange, "/v5/public/spot" if markets[0]["spot"] else "/v5/public/linear")
                connection = client.client(f"ws://{address}{path}")
                for one in (
                    markets if exchange == "kraken" else ()
                ):  # it would keep no more levels than the first snapshot had
                    connection.subscriptions[client.get_message_hash("orderbook", None, one["symbol"])] = {
                        "limit": DEEP
                    }
                both = Both(exchange, client, connection, markets)
                await both.fetch()
                await both.play(texts, every)
                return both
            finally:
                await client.close()

    both = asyncio.run(run())
    assert not both.snapshots
    assert not both.breaks
    assert all(follower.state.synced for follower in both.followers.values())
    return both


def test_binance_spot(market_data):
    session = session_of(market_data, "BINANCE")
    names = {"NKN/USDT": "NKNUSDT", "BLZ/ETH": "BLZETH", "LRC/BTC": "LRCBTC", "RUNE/EUR": "RUNEEUR"}
    both = follow("binance", session, [market(*name) for name in names.items()], binance_texts(session))
    assert both.compared >= 150


def test_binance_usd_m(market_data):
    session = session_of(market_data, "BINANCE_FUTURES")
    bases = ("SUSHI", "AKRO", "KEEP", "CTK")
    markets = [market(f"{base}/USDT:USDT", f"{base}USDT", contractSize=1.0) for base in bases]
    assert follow("binance", session, markets, binance_texts(session)).compared >= 700


@pytest.mark.parametrize(
    ("kind", "bases"), [("linear", ("BTC", "ETH", "SOL", "DOGE")), ("spot", ("BTC", "ETH"))], ids=["linear", "spot"]
)
def test_bybit(kind, bases, market_data):
    session = session_of(market_data, "BYBIT")
    settle = ":USDT" if kind == "linear" else ""
    markets = [market(f"{base}/USDT{settle}", f"{base}USDT", contractSize=1.0) for base in bases]
    both = follow("bybit", session, markets, bybit_texts(session, f"/v5/public/{kind}"), every=20)
    assert both.compared >= 500
    depths = [len(side.order) for one in both.followers.values() for side in (one.state.bids, one.state.asks)]
    assert set(depths) == {BOOK_VENUES["bybit"].depth}  # it deletes what leaves its depth itself


def test_bybit_five_hundred_levels(market_data):
    session = session_of(market_data, "BYBIT")
    markets = [market("XRP/USDT:USDT", "XRPUSDT", contractSize=1.0)]
    both = follow("bybit", session, markets, ob500_texts(market_data))
    assert (both.compared, len(both.followers["XRPUSDT"].state.bids.order)) == (50, 500)


def test_okx(market_data):
    session = session_of(market_data, "OKX")
    markets = [
        market("BTC/USDT", "BTC-USDT"),
        market("UNI/USD:UNI", "UNI-USD-SWAP", contractSize=10.0),  # contracts of so many dollars
        market("BTC/USD:BTC", "BTC-USD-220527", contractSize=100.0),
    ]
    both = follow("okx", session, markets, okx_texts(session))
    assert both.compared >= 280
    assert len(both.followers["BTC-USDT"].state.bids.order) == BOOK_VENUES["okx"].depth


def test_coinbase(market_data):
    session = session_of(market_data, "COINBASE")
    markets = [market("BTC/USD", "BTC-USD"), market("ETH/USD", "ETH-USD")]
    both = follow("coinbase", session, markets, coinbase_texts(session), every=100)
    assert both.compared >= 700


def test_kraken_and_every_checksum(market_data):
    session = session_of(market_data, "KRAKEN")
    texts, digits = kraken_texts(session)
    steps = {name: {"precision": {"price": 10.0**-n, "amount": 1e-8}} for name, n in digits.items()}
    both = follow("kraken", session, [market(name, name, **more) for name, more in steps.items()], texts, every=50)
    assert both.compared >= 4_000
    checked = [update for text in texts for update in READERS["kraken"](text) if update.checksum is not None]
    assert len(checked) >= 4_000
    assert all(one.state.digits for one in both.followers.values())


def test_a_checksum_that_is_wrong_breaks_the_book(market_data):
    texts, digits = kraken_texts(session_of(market_data, "KRAKEN"))
    updates = [update for text in texts for update in READERS["kraken"](text) if update.market == "XMR/USD"]
    state, at = BookState(True, 1_000, (digits["XMR/USD"], 8)), 40
    assert updates[0].kind == BOOK_SNAPSHOT
    state.snapshot(updates[0])
    for update in updates[1:at]:
        assert state.delta(update)
    lost = next(
        k
        for k in range(at, len(updates))
        if updates[k].bids and updates[k].bids[0] in state.bids.best(5) + updates[k].bids
    )
    for update in [*updates[at:lost], *updates[lost + 1 : lost + 200]]:
        state.delta(update)
    assert (state.synced, state.reason) == (False, "unlike its checksum")
