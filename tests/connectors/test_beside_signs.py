"""What venues push of perpetual contracts, in frames as their documentation has them, through ccxt as it is.

No recorded session has liquidations, marks or funding rates of OKX, or a ticker of Coinbase Exchange; markets are recorded ones.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from beside_clients import beside_of, rows_of, until
from recorded_sessions import Session, played
from simulator_clients import loopback_only  # noqa: F401

from events.faults import faults

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.data]
MS = 1_000_000
T = 1_739_502_302_929


def handed_out(market_data, venue, path, frames, symbols, streams, enough):
    """The rows of a feed that is pushed these frames, once `enough`; markets are those of a recorded session."""
    session = Session(market_data / "cryptofeed" / "jsonl_zst" / f"{venue.upper()}.jsonl.zst")
    session.frames = {path: frames}

    async def run():
        async with played(session, path, lambda frame: frame) as url, beside_of(venue, symbols, streams, url) as feed:
            await until(lambda: enough(rows_of(feed)), lambda: rows_of(feed))
            return rows_of(feed)

    return asyncio.run(run())


def bybit_liquidation(side, size, price, at=T):
    row = {"T": at, "s": "BTCUSDT", "S": side, "v": size, "p": price}
    return {"topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": at + 300, "data": [row, row | {"T": at + 1}]}


def test_bybit_names_the_side_of_the_position(market_data):
    frames = [bybit_liquidation("Buy", "0.5", "60000"), bybit_liquidation("Sell", "0.25", "61000", T + 10)]
    key = ("bybit:BTC/USDT:USDT", "liquidations")
    rows = handed_out(
        market_data,
        "bybit",
        "/v5/public/linear",
        frames,
        ["BTC/USDT:USDT"],
        ("liquidations",),
        lambda rows: len(rows.get(key, ())) == 4,
    )[key]
    assert rows[["available_at", "price", "qty", "pos", "complete"]].tolist() == [
        (T * MS, 60_000.0, 0.5, 1, 1),
        ((T + 1) * MS, 60_000.0, 0.5, 1, 1),
        ((T + 10) * MS, 61_000.0, 0.25, -1, 1),
        ((T + 11) * MS, 61_000.0, 0.25, -1, 1),
    ]
    assert len(set(rows["liq_id"].tolist())) == 4
    assert not faults("liquidations", rows).any()


def okx_liquidation(*details):
    data = {
        "details": list(details),
        "instFamily": "BTC-USDT",
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "uly": "BTC-USDT",
    }
    return {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [data]}


def okx_detail(pos_side, side, size, at):
    told = {"bkLoss": "0", "bkPx": "60000", "ccy": "", "side": side, "sz": size, "ts": str(at)}
    return told | ({} if pos_side is None else {"posSide": pos_side})


def test_okx_names_the_position_and_else_the_order_and_may_tell_of_several(market_data):
    frames = [
        okx_liquidation(okx_detail("long", "sell", "100", T), okx_detail("short", "buy", "200", T + 1)),
        okx_liquidation(okx_detail("net", "sell", "300", T + 2), okx_detail(None, "buy", "400", T + 3)),
    ]
    key = ("okx:BTC/USDT:USDT", "liquidations")
    rows = handed_out(
        market_data,
        "okx",
        "/ws/v5/public",
        frames,
        ["BTC/USDT:USDT"],
        ("liquidations",),
        lambda rows: len(rows.get(key, ())) == 4,
    )[key]
    assert rows[["available_at", "pos", "complete"]].tolist() == [
        ((T + n) * MS, pos, 1) for n, pos in enumerate((1, -1, 1, -1))
    ]
    assert rows["qty"].tolist() == pytest.approx([1.0, 2.0, 3.0, 4.0])  # contracts of 0.01 BTC
    assert not faults("liquidations", rows).any()


def okx_frame(channel, name, **data):
    return {"arg": {"channel": channel, "instId": name}, "data": [data]}


def test_okx_pushes_mark_index_and_funding_each_by_itself(market_data):
    swap, eight_h = "BTC-USDT-SWAP", 8 * 3_600_000
    rate = {"fundingRate": "0.00018", "fundingTime": str(T + 5), "nextFundingTime": str(T + 5 + eight_h)}
    rate |= {"instId": swap, "instType": "SWAP", "method": "current_period", "nextFundingRate": "", "ts": str(T)}
    frames = [
        okx_frame("mark-price", swap, instType="SWAP", instId=swap, markPx="60001.5", ts=str(T)),
        okx_frame(
            "index-tickers", "BTC-USDT", instId="BTC-USDT", idxPx="60000.5", high24h="1", low24h="1", ts=str(T + 1500)
        ),
        okx_frame("funding-rate", swap, **rate),
    ]
    key = "okx:BTC/USDT:USDT"
    rows = handed_out(
        market_data,
        "okx",
        "/ws/v5/public",
        frames,
        ["BTC/USDT:USDT"],
        ("ticker", "funding"),
        lambda rows: len(rows.get((key, "ticker"), ())) == 2 and (key, "funding") in rows,
    )
    ticker, (funding,) = rows[key, "ticker"], rows[key, "funding"]
    assert ticker["available_at"].tolist() == [T * MS, (T + 1500) * MS]
    assert ticker["mark"].tolist() == [60_001.5, 60_001.5]
    assert ticker["index"].tolist()[1:] == [60_000.5]
    assert np.isnan(ticker[["high_24h", "low_24h"]].tolist()).all()  # those are of the index
    assert funding[["available_at", "rate", "interval_h", "ts_next", "predicted"]].item() == (
        T * MS,
        0.00018,
        8.0,
        (T + 5) * MS,
        1,
    )
    assert not faults("ticker", ticker).any()
