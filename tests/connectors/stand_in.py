"""Exchanges on the loopback for tests: the public REST and websocket protocols of venues, with faults to order.

They are what ccxt needs to work unmodified, and keep what they traded, so that a test can compare.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType

from aiohttp import WSMsgType, web


class StandIn:
    """A server in a thread of its own. `do` runs a coroutine in it; attributes are its faults.

    Attributes:
        mute: frames are not sent, though connections stay and pings are answered.
        refuse: so many connections are refused.
        failing: status codes of the next REST answers; 200 is a page of HTML.
        lag_s: how far REST is behind.
        skip, repeat, swap: shares of frames that are not sent, sent twice, sent after the next one.
        page: rows of a page of REST.
    """

    symbols = ("BTC/USDT", "ETH/USDT", "DOGE/USDT")

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.traded = {symbol: [] for symbol in self.symbols}
        self.sockets = {}
        self.requests = []
        self.mute, self.refuse, self.failing, self.lag_s, self.page = False, 0, [], 0.0, 1000
        self.skip = self.repeat = self.swap = 0.0
        self.status = None
        self.next_id = 1000
        self._held = None
        self._now_ns = 0

    # ---- the thread
    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.do(self._start())
        return self

    def __exit__(self, *_):
        self.do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def _start(self):
        app = web.Application()
        self.routes(app.router)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def _end(self):
        await self.runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # ---- trading
    def make(self, symbol, count=1):
        """Trades, several of them in a millisecond at times."""
        out = []
        for _ in range(count):
            if self.random.random() < 0.5 or not self._now_ns:
                self._now_ns = max(self._now_ns, time.time_ns() // 1_000_000 * 1_000_000)
            trade = {
                "id": self.next_ids(symbol),
                "ns": self._now_ns,
                "price": round(50_000 + self.random.uniform(-9, 9), 1),
                "qty": round(self.random.uniform(0.001, 1), 5),
                "side": self.random.choice((1, -1)),
            }
            self.traded[symbol].append(trade)
            out.append(trade)
        return out

    def next_ids(self, symbol):
        traded = self.traded[symbol]
        return traded[-1]["id"] + 1 if traded else self.next_id

    async def trade(self, symbol, count=1):
        """Make trades and push them, in one frame or one each, as the venue does."""
        for frame in self.frames(symbol, self.make(symbol, count)):
            if self.random.random() < self.skip:
                continue
            if self._held is None and self.random.random() < self.swap:
                self._held = symbol, frame
                continue
            await self.push(symbol, frame)
            if self.random.random() < self.repeat:
                await self.push(symbol, frame)
            if self._held is not None:
                held, self._held = self._held, None
                await self.push(*held)

    async def push(self, symbol, frame):
        for socket in list(self.sockets.values()):
            if not self.mute and self.hears(socket, symbol):
                with suppress(ConnectionError):
                    await socket.send_str(frame)

    async def cut(self, hard=False):
        """End all connections, with a farewell or without one."""
        for socket in list(self.sockets.values()):
            if hard:
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
            else:
                await socket.close(code=1001)

    # ---- the protocol
    def known(self, symbol):
        """What REST knows."""
        until = time.time_ns() - round(self.lag_s * 1e9)
        return [trade for trade in self.traded[symbol] if trade["ns"] <= until] if self.lag_s else self.traded[symbol]

    async def rest(self, request):
        self.requests.append(request.path_qs)
        if self.status:
            return web.json_response({"msg": "no"}, status=self.status)
        if self.failing:
            status = self.failing.pop(0)
            if status == 200:
                return web.Response(text="<html>log in</html>", content_type="text/html")
            headers = {"Retry-After": "1"} if status == 429 else {}
            return web.json_response({"code": -1003, "msg": "Too many requests"}, status=status, headers=headers)
        return self.answer(request.path.rsplit("/", 1)[1], request)

    async def socket(self, request):
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        socket.heard, socket.path = set(), request.path
        self.sockets[id(socket)] = socket
        try:
            await self.greet(socket)
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    if message.data == "ping":
                        await socket.send_str("pong")
                    else:
                        await self.hear(socket, json.loads(message.data))
        finally:
            self.sockets.pop(id(socket), None)
        return socket

    async def greet(self, socket):
        pass


class Binance(StandIn):
    """Spot only."""

    def routes(self, router):
        router.add_get("/stream/ws/{n}", self.socket)
        router.add_get("/api/v3/{n}", self.rest)

    @staticmethod
    def row(trade):
        price, qty, ms = f"{trade['price']:.1f}", f"{trade['qty']:.5f}", trade["ns"] // 1_000_000
        return {"a": trade["id"], "p": price, "q": qty, "f": 1, "l": 1, "T": ms, "m": trade["side"] < 0, "M": True}

    def frames(self, symbol, trades):
        now = time.time_ns() // 1_000_000
        for trade in trades:
            yield json.dumps({"e": "aggTrade", "E": now, "s": symbol.replace("/", ""), **self.row(trade)})

    def hears(self, socket, symbol):
        return symbol.replace("/", "").lower() + "@aggTrade" in socket.heard

    async def hear(self, socket, message):
        socket.heard |= set(message["params"])
        await socket.send_str(json.dumps({"result": None, "id": message["id"]}))

    def answer(self, name, request):
        if name == "time":
            return web.json_response({"serverTime": time.time_ns() // 1_000_000})
        if name == "exchangeInfo":
            return web.json_response({"symbols": [self.market(*symbol.split("/")) for symbol in self.symbols]})
        assert name == "aggTrades", name
        symbol = next(symbol for symbol in self.symbols if symbol.replace("/", "") == request.query["symbol"])
        rows, limit = self.known(symbol), min(int(request.query.get("limit", 500)), self.page)
        if "fromId" not in request.query:
            return web.json_response([self.row(trade) for trade in rows[-limit:]])
        first = int(request.query["fromId"])
        at = max(0, first - rows[0]["id"]) if rows else 0
        return web.json_response([self.row(trade) for trade in rows[at:] if trade["id"] >= first][:limit])

    @staticmethod
    def market(base, quote):
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
        ]
        return {
            "symbol": base + quote,
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": quote,
            "isSpotTradingAllowed": True,
            "filters": filters,
            "permissions": [],
            "permissionSets": [["SPOT"]],
        }


def iso(ns):
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ns % 10**9 // 1000:06d}Z"


class Kraken(StandIn):
    """REST of version 0, websocket of version 2."""

    symbols = ("BTC/USD", "ETH/USD")
    pairs = MappingProxyType({"XXBTZUSD": ("XXBT", "XBT", "BTC/USD"), "XETHZUSD": ("XETH", "ETH", "ETH/USD")})

    def routes(self, router):
        router.add_get("/v2", self.socket)
        router.add_get("/0/public/{n}", self.rest)

    async def greet(self, socket):
        await socket.send_str(json.dumps({"channel": "status", "type": "update", "data": [{"system": "online"}]}))

    @staticmethod
    def pushed(symbol, trade):
        side = "buy" if trade["side"] > 0 else "sell"
        return {
            "symbol": symbol,
            "side": side,
            "price": trade["price"],
            "qty": trade["qty"],
            "ord_type": "limit",
            "trade_id": trade["id"],
            "timestamp": iso(trade["ns"]),
        }

    def frames(self, symbol, trades):
        rows = [self.pushed(symbol, trade) for trade in trades]
        yield json.dumps({"channel": "trade", "type": "update", "data": rows})

    def hears(self, socket, symbol):
        return symbol in socket.heard

    async def hear(self, socket, message):
        if message["method"] == "ping":
            await socket.send_str(json.dumps({"method": "pong", "req_id": message.get("req_id")}))
            return
        for symbol in message["params"]["symbol"]:
            result = {"channel": "trade", "snapshot": True, "symbol": symbol}
            await socket.send_str(json.dumps({"method": "subscribe", "result": result, "success": True}))
            newest = [self.pushed(symbol, trade) for trade in self.traded[symbol][-50:]]
            if newest and not self.mute:
                await socket.send_str(json.dumps({"channel": "trade", "type": "snapshot", "data": newest}))
            socket.heard.add(symbol)

    def answer(self, name, request):
        if name == "Time":
            result = {"unixtime": time.time_ns() // 10**9}
        elif name == "AssetPairs":
            result = {pair: self.market(*names) for pair, names in self.pairs.items()}
        else:
            assert name == "Trades", name
            pair = request.query["pair"]
            rows, count = self.known(self.pairs[pair][2]), min(int(request.query.get("count", 1000)), self.page)
            if "since" in request.query:
                since = int(request.query["since"])
                rows = [trade for trade in rows if trade["ns"] > since][:count]
            else:
                rows = rows[-count:]
            listed = [
                [f"{t['price']:.5f}", f"{t['qty']:.8f}", t["ns"] / 1e9, "b" if t["side"] > 0 else "s", "l", "", t["id"]]
                for t in rows
            ]
            result = {pair: listed, "last": str(rows[-1]["ns"] if rows else request.query.get("since", "0"))}
        return web.json_response({"error": [], "result": result})

    @staticmethod
    def market(base, short, symbol):
        return {
            "altname": short + "USD",
            "wsname": short + "/USD",
            "base": base,
            "quote": "ZUSD",
            "pair_decimals": 1,
            "lot_decimals": 8,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]],
            "ordermin": "0.00005",
            "tick_size": "0.1",
            "status": "online",
        }


class Bybit(StandIn):
    """Contracts, whose ids are random."""

    symbols = ("BTC/USDT:USDT",)

    def routes(self, router):
        router.add_get("/v5/public/linear", self.socket)
        router.add_get("/v5/market/{n}", self.rest)

    def next_ids(self, symbol):
        self.sequence = getattr(self, "sequence", 10) + self.random.randrange(1, 9)
        return str(uuid.UUID(int=self.random.getrandbits(128)))

    def make(self, symbol, count=1):
        out = super().make(symbol, count)
        for trade in out:
            trade["seq"] = self.sequence  # several trades share one
        return out

    def frames(self, symbol, trades):
        rows = [
            {
                "T": t["ns"] // 1_000_000,
                "s": symbol[:3] + "USDT",
                "S": "Buy" if t["side"] > 0 else "Sell",
                "v": f"{t['qty']:.5f}",
                "p": f"{t['price']:.1f}",
                "i": t["id"],
                "BT": False,
                "seq": t["seq"],
            }
            for t in trades
        ]
        yield json.dumps({"topic": f"publicTrade.{symbol[:3]}USDT", "type": "snapshot", "ts": 1, "data": rows})

    def hears(self, socket, symbol):
        return f"publicTrade.{symbol[:3]}USDT" in socket.heard

    async def hear(self, socket, message):
        if message["op"] == "subscribe":
            socket.heard |= set(message["args"])
        await socket.send_str(
            json.dumps({"success": True, "ret_msg": "pong" if message["op"] == "ping" else "", "op": message["op"]})
        )

    def answer(self, name, request):
        if name == "time":
            result = {"timeSecond": str(time.time_ns() // 10**9), "timeNano": str(time.time_ns())}
        elif name == "instruments-info":
            listed = (
                [self.market(symbol[:3]) for symbol in self.symbols] if request.query["category"] == "linear" else []
            )
            result = {"category": "linear", "list": listed, "nextPageCursor": ""}
        else:
            limit = min(int(request.query.get("limit", 500)), self.page)
            name = request.query["symbol"]
            symbol = name[:3] + "/USDT:USDT"
            rows = [
                {
                    "execId": t["id"],
                    "symbol": name,
                    "price": f"{t['price']:.1f}",
                    "size": f"{t['qty']:.5f}",
                    "side": "Buy" if t["side"] > 0 else "Sell",
                    "time": str(t["ns"] // 1_000_000),
                    "seq": str(t["seq"]),
                }
                for t in self.known(symbol)[-limit:][::-1]
            ]
            result = {"category": "linear", "list": rows}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": time.time_ns() // 1_000_000})

    @staticmethod
    def market(base):
        return {
            "symbol": base + "USDT",
            "baseCoin": base,
            "quoteCoin": "USDT",
            "settleCoin": "USDT",
            "status": "Trading",
            "contractType": "LinearPerpetual",
            "launchTime": "1584230400000",
            "deliveryTime": "0",
            "priceScale": "2",
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.10", "maxPrice": "199999.80", "tickSize": "0.10"},
            "lotSizeFilter": {"maxOrderQty": "1190", "minOrderQty": "0.001", "qtyStep": "0.001"},
            "fundingInterval": 480,
        }


class Okx(StandIn):
    """Spot. The stream sums up trades, REST has them one by one."""

    symbols = ("BTC/USDT", "ETH/USDT")

    def routes(self, router):
        router.add_get("/ws/v5/public", self.socket)
        router.add_get("/api/v5/{kind}/{n}", self.rest)

    @staticmethod
    def row(symbol, trade):
        return {
            "instId": symbol.replace("/", "-"),
            "tradeId": str(trade["id"]),
            "px": f"{trade['price']:.1f}",
            "sz": f"{trade['qty']:.5f}",
            "side": "buy" if trade["side"] > 0 else "sell",
            "ts": str(trade["ns"] // 1_000_000),
        }

    def frames(self, symbol, trades):
        """One sum of all of them: at the price of the last, with the id of the last."""
        summed = self.row(symbol, trades[-1]) | {
            "sz": f"{sum(t['qty'] for t in trades):.5f}",
            "count": str(len(trades)),
        }
        arg = {"channel": "trades", "instId": symbol.replace("/", "-")}
        yield json.dumps({"arg": arg, "data": [summed]})

    def hears(self, socket, symbol):
        return symbol.replace("/", "-") in socket.heard

    async def hear(self, socket, message):
        for arg in message["args"]:
            socket.heard.add(arg["instId"])
            await socket.send_str(json.dumps({"event": "subscribe", "arg": arg, "connId": "1"}))

    def answer(self, name, request):
        query = request.query
        if name == "time":
            data = [{"ts": str(time.time_ns() // 1_000_000)}]
        elif name == "instruments":
            data = [self.market(*symbol.split("/")) for symbol in self.symbols if query["instType"] == "SPOT"]
        else:
            rows = self.known(symbol := query["instId"].replace("-", "/"))
            limit = min(int(query.get("limit", 100)), 500 if name == "trades" else 100)
            if name == "history-trades":
                assert query["type"] == "1"
                rows = [trade for trade in rows if trade["id"] < int(query["after"])]
            data = [self.row(symbol, trade) for trade in rows[-limit:][::-1]]
        return web.json_response({"code": "0", "msg": "", "data": data})

    @staticmethod
    def market(base, quote):
        return {
            "instId": f"{base}-{quote}",
            "instType": "SPOT",
            "baseCcy": base,
            "quoteCcy": quote,
            "tickSz": "0.1",
            "lotSz": "0.00000001",
            "minSz": "0.00001",
            "state": "live",
            "lever": "",
        }


class Coinbase(StandIn):
    """The Exchange API, which names the maker's side."""

    symbols = ("BTC/USD", "ETH/USD")

    def routes(self, router):
        router.add_get("/", self.socket)
        router.add_get("/{n}", self.rest)
        router.add_get("/products/{id}/{n}", self.rest)

    @staticmethod
    def row(trade):
        return {
            "trade_id": trade["id"],
            "side": "sell" if trade["side"] > 0 else "buy",
            "size": f"{trade['qty']:.8f}",
            "price": f"{trade['price']:.2f}",
            "time": iso(trade["ns"]),
        }

    def frames(self, symbol, trades):
        for trade in trades:
            orders = {"maker_order_id": str(uuid.uuid4()), "taker_order_id": str(uuid.uuid4())}
            name = symbol.replace("/", "-")
            yield json.dumps({"type": "match", "product_id": name, "sequence": 1, **orders, **self.row(trade)})

    def hears(self, socket, symbol):
        return symbol.replace("/", "-") in socket.heard

    async def hear(self, socket, message):
        socket.heard |= set(message["product_ids"])
        await socket.send_str(json.dumps({"type": "subscriptions", "channels": []}))

    def answer(self, name, request):
        if name == "time":
            return web.json_response({"iso": iso(time.time_ns()), "epoch": time.time()})
        if name == "products":
            return web.json_response([self.market(*symbol.split("/")) for symbol in self.symbols])
        rows = self.known(request.match_info["id"].replace("-", "/"))
        if "after" in request.query:
            rows = [trade for trade in rows if trade["id"] < int(request.query["after"])]
        limit = min(int(request.query.get("limit", 100)), 1000)
        return web.json_response([self.row(trade) for trade in rows[-limit:][::-1]])

    @staticmethod
    def market(base, quote):
        return {
            "id": f"{base}-{quote}",
            "base_currency": base,
            "quote_currency": quote,
            "quote_increment": "0.01",
            "base_increment": "0.00000001",
            "status": "online",
        }
