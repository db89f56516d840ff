"""How Binance writes what it says: JSON rows of REST and frames of streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Listing
from connectors.simulator.quotes import DayFigures
from events.frames import Array
from events.times import HOUR_NS, timeframe_ns

_MS: Final = 1_000_000
INTERVALS: Final = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
"""Of klines."""

Row = tuple[Any, ...]
"""A TRADE row as a plain tuple."""


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def raw_span(trade_id: int) -> tuple[int, int]:
    """First and last raw id of an aggregate: every third aggregate is of two fills, so that raw ids are contiguous as well.

    >>> [raw_span(i) for i in range(4)]
    [(0, 1), (2, 2), (3, 3), (4, 5)]
    """
    first = trade_id + (trade_id + 2) // 3
    return first, first + (trade_id % 3 == 0)


def aggregate(listing: Listing, row: Row) -> dict[str, Any]:
    """A row of `aggTrades`."""
    time_ns, _, _, trade_id, price, qty, side, _ = row
    first, last = raw_span(trade_id)
    made = {"a": trade_id, "p": listing.price_text(price), "q": listing.qty_text(qty), "f": first, "l": last}
    made |= {"T": time_ns // _MS, "m": side < 0}
    return made if listing.linear else made | {"M": True}


def aggregate_frames(listing: Listing, rows: Array, event_ms: int) -> list[str]:
    """Frames of `@aggTrade`, one a trade."""
    head = {"e": "aggTrade", "E": event_ms, "s": listing.market_id}
    return [_text(head | aggregate(listing, row)) for row in rows.tolist()]


def raw_trades(listing: Listing, row: Row) -> list[dict[str, Any]]:
    """The rows of `trades` that an aggregate is made of."""
    time_ns, _, _, trade_id, price, qty, side, _ = row
    first, last = raw_span(trade_id)
    # half a quantity has a digit more than the lot has: never mind, the sum is exact
    decimals = listing.asset.qty_decimals + (last - first)
    qty /= 1 + last - first
    made = {"price": listing.price_text(price), "qty": f"{qty:.{decimals}f}", "quoteQty": f"{qty * price:.8f}"}
    made |= {"time": time_ns // _MS, "isBuyerMaker": side < 0}
    return [{"id": raw_id, **made} for raw_id in range(first, last + 1)]


def trade_frames(listing: Listing, rows: Array, event_ms: int) -> list[str]:
    """Frames of `@trade`, one a fill."""
    head = {"e": "trade", "E": event_ms, "s": listing.market_id}
    return [
        _text(head | {"t": t["id"], "p": t["price"], "q": t["qty"], "T": t["time"], "m": t["isBuyerMaker"], "M": True})
        for row in rows.tolist()
        for t in raw_trades(listing, row)
    ]


def liquidation_frame(listing: Listing, row: Row, event_ms: int) -> str:
    """A frame of `@forceOrder`; its side is that of the order which closed the position."""
    time_ns, _, _, _, price, qty, side, _ = row
    text, size = listing.price_text(price), listing.qty_text(qty)
    order = {"s": listing.market_id, "S": "BUY" if side > 0 else "SELL", "o": "LIMIT", "f": "IOC", "q": size, "p": text}
    order |= {"ap": text, "X": "FILLED", "l": size, "z": size, "T": time_ns // _MS}
    return _text({"e": "forceOrder", "E": event_ms, "o": order})


def _kline_texts(listing: Listing, row: Any) -> dict[str, str]:
    texts = {name: listing.price_text(row[name]) for name in ("open", "high", "low", "close")}
    texts |= {name: listing.qty_text(row[name]) for name in ("volume", "buy_volume")}
    return texts | {name: f"{row[name]:.8f}" for name in ("quote_volume", "buy_quote_volume")}


def kline_row(listing: Listing, row: Any, interval_ns: int) -> list[Any]:
    """A row of `klines`."""
    t, open_ns = _kline_texts(listing, row), int(row["ts_open"])
    prices = [t["open"], t["high"], t["low"], t["close"], t["volume"]]
    after = [(open_ns + interval_ns) // _MS - 1, t["quote_volume"], int(row["trades"])]
    return [open_ns // _MS, *prices, *after, t["buy_volume"], t["buy_quote_volume"], "0"]


def kline_frames(ledger: Ledger, name: str, since_ns: int, now_ns: int, traded: bool, event_ms: int) -> Iterator[str]:
    """Frames of `@kline_...`: every kline that closed since the last time, and the forming one if there were trades."""
    interval_ns = timeframe_ns(name)
    since_open, now_open = since_ns // interval_ns * interval_ns, now_ns // interval_ns * interval_ns
    if since_open == now_open and not traded:
        return
    for row in ledger.klines(interval_ns, since_open, now_open + 1, ledger.next_id):
        open_ns = int(row["ts_open"])
        if open_ns < now_open or traded:
            yield _text(_kline_event(ledger.listing, name, row, interval_ns, open_ns < now_open, event_ms))


def _kline_event(
    listing: Listing, name: str, row: Any, interval_ns: int, closed: bool, event_ms: int
) -> dict[str, Any]:
    t, open_ns = _kline_texts(listing, row), int(row["ts_open"])
    first, last = raw_span(int(row["first_id"]))[0], raw_span(int(row["last_id"]))[1]
    ids = (first, last) if row["trades"] else (-1, -1)
    kline = {"t": open_ns // _MS, "T": (open_ns + interval_ns) // _MS - 1, "s": listing.market_id, "i": name}
    kline |= {"f": ids[0], "L": ids[1], "o": t["open"], "c": t["close"], "h": t["high"], "l": t["low"]}
    kline |= {"v": t["volume"], "n": int(row["trades"]), "x": closed, "q": t["quote_volume"]}
    kline |= {"V": t["buy_volume"], "Q": t["buy_quote_volume"], "B": "0"}
    return {"e": "kline", "E": event_ms, "s": listing.market_id, "k": kline}


def exchange_info(listings: Sequence[Listing], linear: bool, now_ms: int) -> dict[str, Any]:
    """The answer to `exchangeInfo`."""
    symbols = [_linear_symbol(listing) if linear else _spot_symbol(listing) for listing in listings]
    return {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": [], "symbols": symbols}


def _filters(listing: Listing) -> list[dict[str, Any]]:
    tick, lot = listing.price_text(listing.tick), listing.qty_text(10.0**-listing.asset.qty_decimals)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "10000000", "stepSize": lot},
    ]


def _spot_symbol(listing: Listing) -> dict[str, Any]:
    notional = {"filterType": "NOTIONAL", "minNotional": "5.00", "applyMinToMarket": True, "maxNotional": "9000000.00"}
    return {
        "symbol": listing.market_id,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [*_filters(listing), {**notional, "applyMaxToMarket": False, "avgPriceMins": 5}],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _linear_symbol(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.market_id,
        "pair": listing.market_id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.quote,
        "pricePrecision": listing.asset.price_decimals,
        "quantityPrecision": listing.asset.qty_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [*_filters(listing), {"filterType": "MIN_NOTIONAL", "notional": "5"}],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC"],
    }


def funding_info(listing: Listing, interval_ns: int) -> dict[str, Any]:
    """A row of `fundingInfo`."""
    return {
        "symbol": listing.market_id,
        "adjustedFundingRateCap": "0.00750000",
        "adjustedFundingRateFloor": "-0.00750000",
        "fundingIntervalHours": interval_ns / HOUR_NS if interval_ns % HOUR_NS else interval_ns // HOUR_NS,
        "disclaimer": False,
    }


def mark(listing: Listing, time_ns: int, figures: Mapping[str, float], next_ns: int) -> dict[str, Any]:
    """A row of `premiumIndex`."""
    return {
        "symbol": listing.market_id,
        "markPrice": f"{figures['mark']:.8f}",
        "indexPrice": f"{figures['index']:.8f}",
        "estimatedSettlePrice": f"{figures['index']:.8f}",
        "lastFundingRate": f"{figures['rate']:.8f}",
        "interestRate": "0.00010000",
        "nextFundingTime": next_ns // _MS,
        "time": time_ns // _MS,
    }


def mark_frame(row: Mapping[str, Any]) -> str:
    """A frame of `@markPrice`, of a row of `premiumIndex`."""
    names = {"symbol": "s", "markPrice": "p", "indexPrice": "i", "estimatedSettlePrice": "P", "lastFundingRate": "r"}
    made = {"e": "markPriceUpdate", "E": row["time"]} | {short: row[name] for name, short in names.items()}
    return _text(made | {"T": row["nextFundingTime"]})


_DAY: Final = {
    "symbol": "s",
    "priceChange": "p",
    "priceChangePercent": "P",
    "weightedAvgPrice": "w",
    "lastPrice": "c",
    "lastQty": "Q",
    "openPrice": "o",
    "highPrice": "h",
    "lowPrice": "l",
    "volume": "v",
    "quoteVolume": "q",
    "openTime": "O",
    "closeTime": "C",
    "firstId": "F",
    "lastId": "L",
    "count": "n",
}
"""Names of the figures of a day in an answer, and in a frame."""


def day(listing: Listing, figures: DayFigures) -> dict[str, Any]:
    """A row of `ticker/24hr`."""
    change = figures.last - figures.open
    texts = {"priceChange": change, "lastPrice": figures.last, "openPrice": figures.open}
    texts |= {"highPrice": figures.high, "lowPrice": figures.low, "weightedAvgPrice": figures.average}
    made: dict[str, Any] = {"symbol": listing.market_id} | {name: listing.price_text(v) for name, v in texts.items()}
    made["priceChangePercent"] = f"{100 * change / figures.open:.3f}"
    made |= {"lastQty": listing.qty_text(figures.last_qty), "volume": listing.qty_text(figures.volume)}
    made |= {"quoteVolume": f"{figures.quote_volume:.8f}", "count": figures.trades}
    made |= {"openTime": figures.since_ns // _MS, "closeTime": figures.until_ns // _MS}
    ids = (raw_span(figures.first_id)[0], raw_span(figures.last_id)[1]) if figures.trades else (-1, -1)
    return made | {"firstId": ids[0], "lastId": ids[1]}


def day_frame(listing: Listing, figures: DayFigures, event_ms: int) -> str:
    """A frame of `@ticker`."""
    row = day(listing, figures)
    return _text({"e": "24hrTicker", "E": event_ms} | {short: row[name] for name, short in _DAY.items()})


def mini_frame(listing: Listing, figures: DayFigures, event_ms: int) -> str:
    """A frame of `@miniTicker`."""
    row = day(listing, figures)
    names = ("symbol", "lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume")
    return _text({"e": "24hrMiniTicker", "E": event_ms} | {_DAY[name]: row[name] for name in names})


def open_interest(listing: Listing, contracts: float, time_ns: int) -> dict[str, Any]:
    """The answer to `openInterest`."""
    return {"openInterest": listing.qty_text(contracts), "symbol": listing.market_id, "time": time_ns // _MS}


def open_interest_row(listing: Listing, contracts: float, price: float, time_ns: int) -> dict[str, Any]:
    """A row of `openInterestHist`."""
    return {
        "symbol": listing.market_id,
        "sumOpenInterest": f"{contracts:.8f}",
        "sumOpenInterestValue": f"{contracts * price:.8f}",
        "timestamp": time_ns // _MS,
    }


def long_short_row(listing: Listing, long_share: float, time_ns: int) -> dict[str, Any]:
    """A row of `globalLongShortAccountRatio`."""
    share = round(long_share, 4)
    return {
        "symbol": listing.market_id,
        "longAccount": f"{share:.4f}",
        "shortAccount": f"{1 - share:.4f}",
        "longShortRatio": f"{share / (1 - share):.4f}",
        "timestamp": time_ns // _MS,
    }


def funding_row(listing: Listing, rate: float, mark: float, time_ns: int) -> dict[str, Any]:
    """A row of `fundingRate`."""
    made = {"symbol": listing.market_id, "fundingTime": time_ns // _MS}
    return made | {"fundingRate": f"{rate:.8f}", "markPrice": listing.price_text(mark)}
