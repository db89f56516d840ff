"""How Kraken writes what it says: JSON rows of REST and frames of version 2 of its websocket."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, Final

from connectors.simulator.books import Side
from connectors.simulator.listings import Listing, kraken_altname, kraken_asset
from connectors.simulator.quotes import DayFigures
from events.frames import Array
from events.times import SECOND_NS

Row = tuple[Any, ...]
"""A TRADE row as a plain tuple."""


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_SYSTEM: Final = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
STATUS: Final = _text({"channel": "status", "type": "update", "data": [_SYSTEM]})
HEARTBEAT: Final = _text({"channel": "heartbeat"})


def iso_us(ts_ns: int) -> str:
    """A time as Kraken writes it, always with six digits of the second.

    >>> iso_us(1_700_000_000_000_001_000)
    '2023-11-14T22:13:20.000001Z'
    """
    seconds, rest = divmod(ts_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def reply(method: str, request_id: Any, now_ns: int, result: dict[str, Any] | None = None) -> str:
    """What a method is answered with that worked."""
    made: dict[str, Any] = {"method": method}
    if request_id is not None:
        made["req_id"] = request_id
    if result is not None:
        made |= {"result": result, "success": True}
    return _text(made | {"time_in": iso_us(now_ns), "time_out": iso_us(now_ns)})


def failure(method: Any, request_id: Any, now_ns: int, error: str, symbol: str | None = None) -> str:
    """What a method is answered with that did not."""
    made = {"error": error, "method": method, "success": False}
    if symbol is not None:
        made["symbol"] = symbol
    if request_id is not None:
        made["req_id"] = request_id
    return _text(made | {"time_in": iso_us(now_ns), "time_out": iso_us(now_ns)})


def trades_frame(listing: Listing, rows: Sequence[Row], kind: str) -> str:
    """A message of channel `trade`, `snapshot` or `update`; numbers are JSON numbers."""
    data = [
        {
            "symbol": listing.symbol,
            "side": "buy" if side > 0 else "sell",
            "price": price,
            "qty": qty,
            "ord_type": "market",
            "trade_id": trade_id,
            "timestamp": iso_us(time_ns),
        }
        for time_ns, _, _, trade_id, price, qty, side, _ in rows
    ]
    return _text({"channel": "trade", "type": kind, "data": data})


def trade_frames(listing: Listing, rows: Array) -> list[str]:
    """Updates: what traded at one time is one message."""
    groups = groupby(rows.tolist(), key=lambda row: int(row[0]))
    return [trades_frame(listing, list(group), "update") for _, group in groups]


def trade_row(listing: Listing, row: Row) -> list[Any]:
    """A row of `Trades`; its time is a float in seconds, which loses the nanoseconds."""
    time_ns, _, _, trade_id, price, qty, side, _ = row
    texts = [listing.price_text(price), f"{qty:.8f}"]
    return [*texts, time_ns / SECOND_NS, "b" if side > 0 else "s", "m", "", trade_id]


def kline_row(listing: Listing, row: Any) -> list[Any]:
    """A row of `OHLC`."""
    prices = [listing.price_text(row[name]) for name in ("open", "high", "low", "close")]
    vwap = row["quote_volume"] / row["volume"] if row["trades"] else 0.0
    sums = [listing.price_text(vwap), f"{row['volume']:.8f}", int(row["trades"])]
    return [int(row["ts_open"]) // SECOND_NS, *prices, *sums]


def depth(listing: Listing, bids: Side, asks: Side, limit: int, seconds: int) -> dict[str, Any]:
    """The book of the answer to `Depth`."""
    return {
        name: [[*texts, seconds] for texts in listing.level_texts(islice(side.items(), limit))]
        for name, side in (("asks", asks), ("bids", bids))
    }


def _scaled(listing: Listing, best: Sequence[int]) -> tuple[float, float, float, float]:
    """Bid and ask, each with its quantity, of ticks and lots."""
    price, qty = 10**listing.asset.price_decimals, 10**listing.asset.qty_decimals
    return best[0] / price, best[1] / qty, best[2] / price, best[3] / qty


def ticker_frame(listing: Listing, kind: str, figures: DayFigures, best: Sequence[int]) -> str:
    """A message of channel `ticker`; `best` are ticks and lots of the best bid, then of the best ask."""
    bid, bid_qty, ask, ask_qty = _scaled(listing, best)
    change = figures.last - figures.open
    decimals = listing.asset.price_decimals
    data = {
        "symbol": listing.symbol,
        "bid": bid,
        "bid_qty": bid_qty,
        "ask": ask,
        "ask_qty": ask_qty,
        "last": figures.last,
        "volume": round(figures.volume, 8),
        "vwap": round(figures.average, decimals),
        "low": figures.low,
        "high": figures.high,
        "change": round(change, decimals),
        "change_pct": round(100 * change / figures.open, 2),
    }
    return _text({"channel": "ticker", "type": kind, "data": [data]})


def ticker_row(listing: Listing, figures: DayFigures, best: Sequence[int]) -> dict[str, Any]:
    """The answer to `Ticker` for one pair; what is of today at Kraken is of the last 24 hours here."""
    bid, bid_qty, ask, ask_qty = _scaled(listing, best)
    price, qty = listing.price_text, listing.qty_text
    twice = {
        "v": f"{figures.volume:.8f}",
        "p": price(figures.average),
        "t": figures.trades,
        "l": price(figures.low),
        "h": price(figures.high),
    }
    made: dict[str, Any] = {"a": [price(ask), "1", qty(ask_qty)], "b": [price(bid), "1", qty(bid_qty)]}
    made["c"] = [price(figures.last), qty(figures.last_qty)]
    return made | {name: [value, value] for name, value in twice.items()} | {"o": price(figures.open)}


def aliases(listing: Listing) -> tuple[str, ...]:
    """The names by which a request may call a pair."""
    altname = kraken_altname(listing.base) + kraken_altname(listing.quote)
    return listing.market_id, altname, f"{kraken_altname(listing.base)}/{kraken_altname(listing.quote)}"


def assets(listings: Sequence[Listing]) -> dict[str, Any]:
    """The answer to `Assets`."""
    codes = dict.fromkeys(code for listing in listings for code in (listing.base, listing.quote))
    about = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
    return {kraken_asset(code): {**about, "altname": kraken_altname(code)} for code in codes}


def pair(listing: Listing) -> dict[str, Any]:
    """A pair of the answer to `AssetPairs`."""
    _, altname, wsname = aliases(listing)
    return {
        "altname": altname,
        "wsname": wsname,
        "aclass_base": "currency",
        "base": kraken_asset(listing.base),
        "aclass_quote": "currency",
        "quote": kraken_asset(listing.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": listing.asset.price_decimals,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": listing.price_text(listing.tick),
        "status": "online",
    }
