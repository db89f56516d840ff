"""What the source relies on in ccxt, which its documentation does not promise: an upgrade that changes it fails here."""

import asyncio
import inspect

import ccxt
import ccxt.pro
import pytest
from ccxt.async_support.base.ws.cache import ArrayCache
from exchange_bench import connected

from connectors.exchange.client import make_client
from connectors.exchange.taps import Tap
from connectors.exchange.venues import VENUES


def test_the_version_is_the_one_that_was_looked_into():
    assert ccxt.__version__ == "4.5.90"


@pytest.mark.parametrize("exchange", VENUES)
def test_what_clients_have(exchange):
    client = make_client(exchange, ["BTC/USDT"])
    assert {"urls", "trades", "clients", "has", "options"} <= vars(client).keys() | set(dir(client))
    assert isinstance(client.trades, dict)
    for name in ("watch_trades", "watch_trades_for_symbols", "fetch_trades", "fetch_time", "load_markets"):
        assert "params" in inspect.signature(getattr(client, name)).parameters
    for name in ("on_connected", "on_error", "on_close", "handle_message", "close", "set_markets", "milliseconds"):
        assert callable(getattr(client, name))
    assert client.last_response_headers is None
    assert client.has["watchTrades"]
    assert client.has["fetchTrades"]


def test_the_tap_is_a_cache_that_tells():
    taken = []
    tap = Tap(taken.append)
    assert isinstance(tap, ArrayCache)
    for n in range(5):
        tap.append({"symbol": "A/B", "id": str(n)})
    assert [trade["id"] for trade in taken] == list("01234")
    assert len(tap) == 1
    assert tap.getLimit("A/B", None) == 5


@pytest.mark.parametrize("exchange", ["binance", "kraken", "bybit"])
def test_the_tap_stays_in_its_place_and_connections_have_what_is_looked_at(exchange):
    with connected(exchange) as (server, client):
        symbol = server.symbols[0]
        server.do(server.trade(symbol, 3))
        client.until(lambda: len(client.rows(symbol)) >= 3)
        feed = client.part.feed
        assert all(isinstance(feed.client.trades[name], Tap) for name in server.symbols)
        for connection in feed.client.clients.values():
            assert connection.isConnected is True
            assert connection.error is None
            assert connection.last_message_at > 0
            assert connection.connectionEstablished > 0


def test_a_message_that_cannot_be_handled_ends_the_connection_and_nothing_is_lost():
    with connected("binance", symbols=["BTC/USDT"]) as (server, client):

        async def poison():
            for broken in ('{"e": "aggTrade", "s": "BTCUSDT"}', "{broken", '["x"]'):
                for connection in list(server.sockets.values()):
                    await connection.send_str(broken)
                await asyncio.sleep(0.05)

        made = client.part.feed.counts["connected"]
        server.do(poison())
        client.until(lambda: client.part.feed.counts["connected"] > made)
        server.do(server.trade("BTC/USDT", 5))
        client.until(client.complete)
        assert len(client.rows("BTC/USDT")) == 5
