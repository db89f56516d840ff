"""Venues that the local exchange does not simulate, as far as their history goes: documented answers, from numbers of a seed."""

from __future__ import annotations

import random
from itertools import pairwise
from types import MappingProxyType

import ccxt
from aiohttp import web
from stand_in import Bybit, Coinbase, Okx

MINUTE_NS = 60 * 10**9
MS = 1_000_000


class Klines:
    """Klines of one symbol from `listed_ns` until `now_ns`, the last one forming; those in `left_out` were never made."""

    def __init__(self, seed=1, listed_ns=1_700_000_040 * 10**9, minutes=1_000, left_out=()):
        super().__init__(seed)
        self.listed_ns, self.now_ns = listed_ns, listed_ns + minutes * MINUTE_NS + 20 * 10**9
        self.left_out, self.most = set(left_out), 10**6
        self.clock_ahead_ns = 0

    def settle(self, intervals_h):
        """(ns, rate) of settlements so many hours after one another."""
        at, out = self.listed_ns // (8 * 60 * MINUTE_NS) * 8 * 60 * MINUTE_NS, []
        for hours in intervals_h:
            at += hours * 60 * MINUTE_NS
            out.append((at, round(self.random.uniform(-1e-3, 1e-3), 6)))
        return out

    def kline(self, open_ns):
        """(open, high, low, close, volume, quote volume), the same whenever asked for."""
        r = random.Random(open_ns)
        prices = [round(50_000 + r.uniform(-9, 9), 1) for _ in range(4)]
        return (
            prices[0],
            max(prices),
            min(prices),
            prices[3],
            round(r.uniform(0.1, 5), 5),
            round(r.uniform(1e3, 1e5), 2),
        )

    def opens(self, length_ns, first_ns, last_ns):
        """The opens of klines in `[first_ns, last_ns]`, as far as there are, oldest first."""
        first = max(-(-first_ns // length_ns), self.listed_ns // length_ns)
        last = min(last_ns, self.now_ns) // length_ns
        opens = [number * length_ns for number in range(first, last + 1)]
        minutes = length_ns // MINUTE_NS
        return [at for at in opens if minutes > 1 or at not in self.left_out]

    def truth(self, length_ns, since_ns, until_ns):
        """What is closed and lies in the span."""
        opens = self.opens(length_ns, since_ns, min(until_ns, self.now_ns) - length_ns)
        return [(at, *self.kline(at)) for at in opens]


class OkxHistory(Klines, Okx):
    """At most 1,440 of the newest at one endpoint, whatever there is at the other; newest first, both ends open."""

    bars = MappingProxyType({"1m": 1, "5m": 5, "30m": 30, "4H": 240, "6Hutc": 360, "1Dutc": 1_440})

    contract, settled = "BTC/USDT:USDT", ()

    def answer(self, name, request):
        query = request.query
        if name == "instruments" and query["instType"] == "SWAP":
            return web.json_response({"code": "0", "msg": "", "data": [self.perpetual()]})
        if name == "funding-rate-history":  # the newest 100 before a time
            rows = [one for one in self.settled if one[0] < int(query["after"]) * MS][-min(int(query["limit"]), 100) :]
            told = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "fundingRate": "0.5", "method": "current_period"}
            data = [told | {"realizedRate": str(rate), "fundingTime": str(at // MS)} for at, rate in rows[::-1]]
            return web.json_response({"code": "0", "msg": "", "data": data})
        if name == "history-trades":  # the newest 100 before an id (type 1) or a time (2)
            symbol, by = query["instId"].replace("-", "/"), {"1": "id", "2": "ns"}[query["type"]]
            before = int(query["after"]) * (MS if by == "ns" else 1)
            rows = [trade for trade in self.traded[symbol] if trade[by] < before]
            data = [self.row(symbol, trade) for trade in rows[-min(int(query["limit"]), 100) :][::-1]]
            return web.json_response({"code": "0", "msg": "", "data": data})
        if name not in ("candles", "history-candles"):
            return super().answer(name, request)
        length = self.bars[query["bar"]] * MINUTE_NS
        opens = self.opens(length, int(query["before"]) * MS + 1, int(query["after"]) * MS - 1)
        if name == "candles":
            opens = [at for at in opens if at > self.now_ns - 1_440 * length]
        rows = []
        for at in opens[::-1][: min(int(query["limit"]), self.most)]:
            *prices, volume, quote = self.kline(at)
            closed = str(int(at + length <= self.now_ns))
            volumes = (volume * 100, volume, quote) if query["instId"].endswith("-SWAP") else (volume, quote, quote)
            rows.append([str(at // MS), *map(str, (*prices, *volumes)), closed])
        return web.json_response({"code": "0", "msg": "", "data": rows})

    def perpetual(self):
        spot = self.market("BTC", "USDT") | {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "instFamily": "BTC-USDT"}
        return spot | {"ctType": "linear", "ctVal": "0.01", "ctValCcy": "BTC", "settleCcy": "USDT", "uly": "BTC-USDT"}


class CoinbaseHistory(Klines, Coinbase):
    """At most 300, both ends belong to it; without quote volumes."""

    def answer(self, name, request):
        if name == "time":
            return web.json_response({"iso": "", "epoch": (self.now_ns + self.clock_ahead_ns) / 1e9})
        if name != "candles":
            return super().answer(name, request)
        query = request.query
        first, last = (self.time_of(query[name]) for name in ("start", "end"))
        length = int(query["granularity"]) * 10**9
        if (last - first) // length >= 300:
            return web.json_response({"message": "granularity too small for the requested time range."}, status=400)
        rows = []
        for at in self.opens(length, first, last)[::-1]:
            opened, high, low, close, volume, _ = self.kline(at)
            rows.append([at // 10**9, low, high, opened, close, volume])
        return web.json_response(rows)

    @staticmethod
    def time_of(text):
        return ccxt.Exchange.parse8601(text) * MS


class BybitHistory(Klines, Bybit):
    """At most 1,000, newest first, both ends belong to it."""

    def routes(self, router):
        super().routes(router)
        router.add_get("/v5/market/funding/{n}", self.rest)

    bars = MappingProxyType({"1": 1, "5": 5, "30": 30, "240": 240, "D": 1_440})

    contract, settled = "BTC/USDT:USDT", ()

    def answer(self, name, request):
        if name == "history":  # the newest 200 up to a time, that included
            query = request.query
            rows = [one for one in self.settled if one[0] <= int(query["endTime"]) * MS][
                -min(int(query["limit"]), 200) :
            ]
            told = {"symbol": query["symbol"]}
            listed = [
                told | {"fundingRate": str(rate), "fundingRateTimestamp": str(at // MS)} for at, rate in rows[::-1]
            ]
            result = {"category": query["category"], "list": listed}
            return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": 0})
        if name != "kline":
            return super().answer(name, request)
        query = request.query
        assert query["category"] == "linear"
        opens = self.opens(self.bars[query["interval"]] * MINUTE_NS, int(query["start"]) * MS, int(query["end"]) * MS)
        listed = [[str(at // MS), *map(str, self.kline(at))] for at in opens[::-1][: min(int(query["limit"]), 1_000)]]
        assert all(int(a[0]) > int(b[0]) for a, b in pairwise(listed))
        result = {"symbol": query["symbol"], "category": "linear", "list": listed}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": 0})


HISTORY = {"okx": OkxHistory, "coinbase": CoinbaseHistory, "bybit": BybitHistory}
