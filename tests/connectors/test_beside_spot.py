"""Best quotes and tickers of Kraken, on the local exchange, and of Coinbase Exchange, in frames as its documentation has them."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest
from beside_clients import beside_of, promised, rows_of, until
from recorded_sessions import played
from simulator_clients import loopback_only  # noqa: F401

from connectors.simulator.exchange import Exchange
from events.faults import faults
from events.times import SECOND_NS

pytestmark = pytest.mark.usefixtures("loopback_only")
KRAKEN, COINBASE = "kraken:BTC/USD", "coinbase:BTC/USD"


def test_kraken_tells_both_over_one_channel_and_no_time():
    async def run(exchange):
        async with beside_of("kraken", ["BTC/USD"], ("top", "ticker"), exchange.url, timed=True, grid_s=1.0) as feed:
            await until(
                lambda: (
                    len(rows_of(feed).get((KRAKEN, "top"), ())) > 20
                    and len(rows_of(feed).get((KRAKEN, "ticker"), ())) > 2
                    and promised(feed, KRAKEN, "top")
                ),
                lambda: rows_of(feed),
            )
            return rows_of(feed), promised(feed, KRAKEN, "top"), list(feed.queue)

    with Exchange([KRAKEN], seed=3, speed=1, activity=20, history_days=0.2) as exchange:
        rows, heartbeats, queue = asyncio.run(run(exchange))
        prices = set(exchange.traded(KRAKEN, 1)["price"].tolist())
    top, ticker = rows[KRAKEN, "top"], rows[KRAKEN, "ticker"]
    assert (top["no_event_time"] == 1).all()
    for found in (top, ticker):
        assert (found["available_at"] == found["ts_recv"]).all()
    assert not faults("top", top).any()
    assert not faults("ticker", ticker).any()
    assert set(ticker["last"].tolist()) <= prices
    assert all(at % SECOND_NS == 1 for at in heartbeats)
    known = 0  # the source clock promises, and rows come at its times
    for _, item in queue:
        if item.stream == "top":
            assert all(row[0] >= known for row in item.rows)
            known = max(known, item.watermark)


class Coinbase:
    """A session of one product and some tickers."""

    product: ClassVar = {
        "id": "BTC-USD",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "display_name": "BTC/USD",
        "min_market_funds": "1",
        "status": "online",
        "trading_disabled": False,
    }
    frames: ClassVar = {
        "": [
            {
                "type": "ticker",
                "sequence": 29_912_241 + n,
                "product_id": "BTC-USD",
                "price": f"{60_000 + n}.5",
                "open_24h": "58000",
                "volume_24h": "11450.25",
                "low_24h": "57500",
                "high_24h": "61000",
                "volume_30d": "331289.15",
                "best_bid": "60000.4",
                "best_bid_size": "0.5",
                "best_ask": "60000.6",
                "best_ask_size": "0.25",
                "side": "buy",
                "time": f"2023-03-04T03:37:2{n}.799258Z",
                "trade_id": 11_586_478 + n,
                "last_size": "0.00352175",
            }
            for n in range(3)
        ]
    }

    def answer(self, path, query):
        return json.dumps([self.product] if path == "/products" else [])


def test_coinbase_tells_tickers_with_its_own_time():
    async def run():
        async with (
            played(Coinbase(), "", lambda frame: frame) as url,
            beside_of("coinbase", ["BTC/USD"], ("ticker",), url) as feed,
        ):
            await until(lambda: len(rows_of(feed).get((COINBASE, "ticker"), ())) == 3, lambda: rows_of(feed))
            return rows_of(feed)[COINBASE, "ticker"]

    rows = asyncio.run(run())
    first = 1_677_901_040_799_258_000
    assert rows["available_at"].tolist() == rows["ts_event"].tolist() == [first + n * SECOND_NS for n in range(3)]
    assert rows["last"].tolist() == [60_000.5, 60_001.5, 60_002.5]
    assert rows[["high_24h", "low_24h", "volume_24h"]].tolist() == [(61_000.0, 57_500.0, 11_450.25)] * 3
    assert rows["pct_24h"].tolist() == pytest.approx([(60_000.5 + n) / 58_000 - 1 for n in range(3)], rel=1e-6)
    assert not faults("ticker", rows).any()
