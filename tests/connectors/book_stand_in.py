"""Venues on the loopback that push the snapshots of their books: what they keep, tell, and leave out if told to."""

from __future__ import annotations

import json
import time
from contextlib import suppress

from stand_in import Bybit, Coinbase, Kraken, Okx, iso

from connectors.exchange.book_state import checksum


class Books:
    """What a stand-in has beside its trades.

    Attributes:
        books: by symbol, bids and asks by price.
        silent: so many of the next changes are not told.
        wrong: whether the next change is told with a bid above all asks.
        subscribed: how often a book was subscribed to.
    """

    depth = 400

    def __init__(self, seed=1):
        super().__init__(seed)
        self.books = {symbol: (self._side(50_000, -1), self._side(50_001, 1)) for symbol in self.symbols}
        self.numbers = dict.fromkeys(self.symbols, 100)
        self.silent, self.wrong, self.subscribed = 0, False, 0

    def _side(self, best, step):
        return {best + step * k: self._qty() for k in range(60)}

    def _qty(self):
        return round(self.random.uniform(0.001, 5), 5)

    def shown(self, symbol):
        """(bids, asks) as far as it tells of them, the best first."""
        bids, asks = self.books[symbol]
        return sorted(bids.items(), reverse=True)[: self.depth], sorted(asks.items())[: self.depth]

    async def change(self, symbol):
        """Change the book and tell."""
        before = [dict(side) for side in self.shown(symbol)]
        for side, best in zip(self.books[symbol], (max, min)):
            for _ in range(self.random.randrange(1, 4)):
                price = self.random.choice(sorted(side, reverse=best is max)[:30])
                if len(side) > 40 and self.random.random() < 0.3:
                    del side[price]
                else:
                    side[price] = self._qty()
            if len(side) < 60:
                outer = (min if best is max else max)(side)
                side[outer + (-1 if best is max else 1)] = self._qty()
            inner = best(side) + (1 if best is max else -1)
            if self.random.random() < 0.3 and all(inner not in other for other in self.books[symbol]):
                side[inner] = self._qty()
        bids, asks = self.books[symbol]
        while max(bids) >= min(asks):
            del asks[min(asks)]
        after = [dict(side) for side in self.shown(symbol)]
        changes = []
        for old, new, whole in zip(before, after, self.books[symbol]):
            gone = {price: 0.0 for price in old if price not in whole}
            if self.tells_what_leaves:
                gone = {price: 0.0 for price in old if price not in new}
            changes.append(gone | {price: qty for price, qty in new.items() if old.get(price) != qty})
        self.numbers[symbol] += 1
        if self.silent:
            self.silent -= 1
            return
        if self.wrong:
            self.wrong = False
            changes[0][min(asks) + 1] = 1.0
        for socket in list(self.sockets.values()):
            if symbol in getattr(socket, "books", ()):
                with suppress(ConnectionError):
                    await socket.send_str(json.dumps(self.told(symbol, changes)))

    async def hear(self, socket, message):
        asked = self.asked(message)
        if asked is None:
            await super().hear(socket, message)
            return
        begins, symbols = asked
        socket.books = getattr(socket, "books", set())
        for symbol in symbols:
            await socket.send_str(json.dumps(self.confirmed(message, symbol)))
            socket.books.discard(symbol)
            if begins:
                self.subscribed += 1
                await socket.send_str(json.dumps(self.told(symbol, [dict(side) for side in self.shown(symbol)], True)))
                socket.books.add(symbol)

    tells_what_leaves = True


def texts(levels):
    return [[f"{price:.2f}", f"{qty:.5f}"] for price, qty in levels.items()]


class KrakenBooks(Books, Kraken):
    depth, tells_what_leaves = 25, False

    def asked(self, message):
        params = message.get("params", {})
        if params.get("channel") != "book":
            return None
        return message["method"] == "subscribe", params["symbol"]

    def confirmed(self, message, symbol):
        return {"method": message["method"], "result": {"channel": "book", "symbol": symbol}, "success": True}

    def told(self, symbol, changes, whole=False):
        bids, asks = ([{"price": float(p), "qty": q} for p, q in side.items()] for side in changes)
        shown = self.shown(symbol)
        summed = checksum(shown[1][:10], shown[0][:10], 1, 8)
        book = {"symbol": symbol, "bids": bids, "asks": asks, "checksum": summed}
        if not whole:
            book["timestamp"] = iso(time.time_ns())
        return {"channel": "book", "type": "snapshot" if whole else "update", "data": [book]}


class OkxBooks(Books, Okx):
    def asked(self, message):
        if not any(argument.get("channel") == "books" for argument in message["args"]):
            return None
        return message["op"] == "subscribe", [argument["instId"].replace("-", "/") for argument in message["args"]]

    def confirmed(self, message, symbol):
        argument = {"channel": "books", "instId": symbol.replace("/", "-")}
        return {"event": message["op"], "arg": argument, "connId": "1"}

    def told(self, symbol, changes, whole=False):
        bids, asks = ([[*level, "0", "1"] for level in texts(side)] for side in changes)
        number = self.numbers[symbol]
        book = {"bids": bids, "asks": asks, "ts": str(time.time_ns() // 1_000_000), "checksum": 1, "seqId": number}
        book["prevSeqId"] = -1 if whole else number - 1
        argument = {"channel": "books", "instId": symbol.replace("/", "-")}
        return {"arg": argument, "action": "snapshot" if whole else "update", "data": [book]}


class BybitBooks(Books, Bybit):
    def asked(self, message):
        names = [name for name in message.get("args", ()) if str(name).startswith("orderbook.")]
        return (
            (message["op"] == "subscribe", [f"{name.split('.')[2][:3]}/USDT:USDT" for name in names]) if names else None
        )

    def confirmed(self, message, symbol):
        return {"success": True, "ret_msg": "", "op": message["op"], "req_id": message.get("req_id", "")}

    def told(self, symbol, changes, whole=False):
        name, now = symbol[:3] + "USDT", time.time_ns() // 1_000_000
        data = {"s": name, "b": texts(changes[0]), "a": texts(changes[1]), "u": self.numbers[symbol], "seq": 1}
        kind = "snapshot" if whole else "delta"
        return {"topic": f"orderbook.200.{name}", "type": kind, "ts": now, "data": data, "cts": now}


class CoinbaseBooks(Books, Coinbase):
    def asked(self, message):
        if message.get("channels") != ["level2_batch"]:
            return None
        return message["type"] == "subscribe", [name.replace("-", "/") for name in message["product_ids"]]

    def confirmed(self, message, symbol):
        return {
            "type": "subscriptions",
            "channels": [{"name": "level2_batch", "product_ids": [symbol.replace("/", "-")]}],
        }

    def told(self, symbol, changes, whole=False):
        name = symbol.replace("/", "-")
        if whole:
            return {"type": "snapshot", "product_id": name, "bids": texts(changes[0]), "asks": texts(changes[1])}
        listed = [[side, *level] for side, levels in zip(("buy", "sell"), changes) for level in texts(levels)]
        return {"type": "l2update", "product_id": name, "changes": listed, "time": iso(time.time_ns())}
