"""Clients of the local exchange for tests: ccxt as it is, and plain aiohttp; none of them may leave this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import ccxt.pro
import pytest

from connectors.simulator.exchange import Exchange

START_NS = 1_750_000_040 * 10**9  # 20 s into a minute
SPOT, LINEAR, KRAKEN = "binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD"


def by_hand(*instruments, **given):
    """An exchange at which time stands still, and nothing trades by itself."""
    return Exchange(instruments or (SPOT, LINEAR, KRAKEN), **{"start_ns": START_NS, "speed": 0, "activity": 0} | given)


@contextmanager
def after_ninety_seconds(*instruments, **given):
    """An exchange with a day of history that has traded for ninety seconds."""
    with by_hand(*instruments, history_days=1, **given) as exchange:
        exchange.advance(90)
        yield exchange


def symbol_of(instrument):
    """The symbol, as ccxt writes it."""
    return instrument.split(":", 1)[1]


@pytest.fixture
def loopback_only(monkeypatch):
    """Fails a test that looked up or dialled anything but this machine."""
    strayed = []
    lookup, connect = socket.getaddrinfo, BaseSelectorEventLoop.sock_connect

    def getaddrinfo(host, *rest, **more):
        if host not in ("127.0.0.1", "127.0.0.2", "localhost", None):
            strayed.append(host)
            raise OSError(f"{host} is not this machine")
        return lookup(host, *rest, **more)

    async def sock_connect(loop, sock, address):
        if address[0] != "127.0.0.1":
            strayed.append(address)
            raise OSError(f"{address} is not this machine")
        return await connect(loop, sock, address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)
    yield
    assert strayed == []


@asynccontextmanager
async def unified(exchange, client, **options):
    """An unmodified ccxt.pro client; `options` are its own."""
    made = getattr(ccxt.pro, client)({**exchange.config(client), "timeout": 60_000, **options})
    try:
        yield made
    finally:
        await made.close()


async def get(exchange, path, **query):
    """(status, headers, text) of a plain request."""
    async with aiohttp.ClientSession() as session, session.get(exchange.url + path, params=query) as answer:
        return answer.status, answer.headers, await answer.text()


async def get_json(exchange, path, **query):
    return json.loads((await get(exchange, path, **query))[2])


@asynccontextmanager
async def socket_to(exchange, path, *messages):
    """A plain websocket that has sent these messages; the answers are still to be read."""
    async with aiohttp.ClientSession() as session, session.ws_connect(exchange.url + path, autoping=False) as ws:
        for message in messages:
            await ws.send_json(message)
        yield ws


@asynccontextmanager
async def subscribed(exchange, instrument):
    """A plain websocket that is subscribed to the trades of an instrument, with the answers read."""
    symbol = symbol_of(instrument)
    if instrument.startswith("kraken"):
        params = {"channel": "trade", "symbol": [symbol], "snapshot": False}
        path, message, answers = "/v2", {"method": "subscribe", "params": params}, 2
    else:
        name = symbol.split(":")[0].replace("/", "").lower() + "@aggTrade"
        path = "/fws/market/ws/0" if symbol.count(":") else "/stream/ws/0"
        message, answers = {"method": "SUBSCRIBE", "params": [name], "id": 1}, 1
    async with socket_to(exchange, path, message) as ws:
        for _ in range(answers):
            await heard(ws)
        yield ws


async def heard(ws):
    """The next message, as JSON."""
    message = await asyncio.wait_for(ws.receive(), 60)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def trades_heard(ws, count):
    """The next `count` messages that are no heartbeat as (id, price, qty, side), of Binance or of Kraken."""
    trades = []
    while count:
        message = await heard(ws)
        if message != {"channel": "heartbeat"}:
            trades += trades_in(message)
            count -= 1
    return trades


def trades_in(message):
    if message.get("e") == "aggTrade":
        side = -1 if message["m"] else 1
        return [(message["a"], float(message["p"]), float(message["q"]), side)]
    assert message["channel"] == "trade", message
    return [(t["trade_id"], t["price"], t["qty"], 1 if t["side"] == "buy" else -1) for t in message["data"]]


def truth(exchange, instrument):
    """What traded, in the same shape."""
    return exchange.traded(instrument)[["trade_id", "price", "qty", "side"]].tolist()


def unified_trades(trades):
    """Trades of ccxt in the same shape."""
    return [(int(t["id"]), t["price"], t["amount"], 1 if t["side"] == "buy" else -1) for t in trades]
