"""Recorded sessions of real exchanges through the streams beside trades: every row is what the frames say, read without ccxt."""

from __future__ import annotations

import asyncio
from math import isnan

import ccxt.pro
import pytest
from beside_clients import beside_of, rows_of, until
from recorded_sessions import Session, played
from simulator_clients import loopback_only  # noqa: F401

from events.faults import faults
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.data]
MS = 1_000_000


def session_of(name, market_data):
    return Session(market_data / "cryptofeed" / "jsonl_zst" / f"{name}.jsonl.zst")


def handed_out(session, path, sent, exchange, symbols, streams, enough):
    """The rows of a feed to which a session is played, once there are enough of them."""

    async def run():
        async with (
            played(session, path, sent) as url,
            beside_of(exchange, symbols, streams, url) as feed,
        ):
            await until(lambda: enough(rows_of(feed)), lambda: {at: len(rows) for at, rows in rows_of(feed).items()})
            return rows_of(feed)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "symbols", "count"),
    [
        ("BINANCE", {"NKNUSDT": "NKN/USDT", "BLZETH": "BLZ/ETH"}, 40),
        ("BINANCE_FUTURES", {"SUSHIUSDT": "SUSHI/USDT:USDT", "CTKUSDT": "CTK/USDT:USDT"}, 300),
    ],
)
def test_best_quotes_of_binance(market_data, name, symbols, count):
    session = session_of(name, market_data)
    expected = {f"binance:{symbol}": [] for symbol in symbols.values()}

    def sent(frame):
        data = frame["data"]
        return data if frame["stream"].endswith("@bookTicker") and data["s"] in symbols else None

    for frame in filter(None, map(sent, session.frames["/stream"])):
        prices = [float(frame[name]) for name in "bBaA"]
        expected[f"binance:{symbols[frame['s']]}"].append((frame["u"], *prices, frame.get("T")))
    total = sum(map(len, expected.values()))
    assert total >= count

    def enough(rows):
        return sum(map(len, rows.values())) == total

    rows = handed_out(session, "/stream", sent, "binance", list(symbols.values()), ("top",), enough)
    for key, quotes in expected.items():
        found = rows[key, "top"]
        assert found[["seq", "bid", "bid_qty", "ask", "ask_qty"]].tolist() == [quote[:5] for quote in quotes]
        stamps = [quote[5] for quote in quotes]
        timed = name == "BINANCE_FUTURES"
        assert (found["no_event_time"] == (not timed)).all()
        at = [stamp * MS for stamp in stamps] if timed else found["ts_recv"].tolist()
        assert found["available_at"].tolist() == at
        assert not faults("top", found).any()


def merged(session, market):
    """(ns, all that was said so far) at each ticker of Bybit, which pushes what has changed."""
    state, out = {}, []
    for frame in session.frames["/v5/public/linear"]:
        if frame.get("topic") == f"tickers.{market}":
            state |= {name: value for name, value in frame["data"].items() if value != ""}
            out.append((frame["ts"] * MS, dict(state)))
    return out


def spaced(told, every_ns):
    """The first of them, and each that comes so much after the one before it in what is left."""
    kept = []
    for at, state in told:
        if not kept or at - kept[-1][0] >= every_ns:
            kept.append((at, state))
    return kept


def test_tickers_of_bybit_give_tickers_funding_and_open_interest(market_data):
    session, symbols = session_of("BYBIT", market_data), {"BTCUSDT": "BTC/USDT:USDT", "ETHUSDT": "ETH/USDT:USDT"}
    told = {f"bybit:{symbol}": merged(session, market) for market, symbol in symbols.items()}
    tickers = {key: spaced(frames, SECOND_NS // 2) for key, frames in told.items()}
    assert min(map(len, tickers.values())) > 5

    def sent(frame):
        return frame if frame.get("topic", "").removeprefix("tickers.") in symbols else None

    def enough(rows):
        return all(
            len(rows.get((key, "ticker"), ())) == len(kept)
            and (key, "funding") in rows
            and (key, "open_interest") in rows
            for key, kept in tickers.items()
        )

    path, streams = "/v5/public/linear", ("ticker", "funding", "open_interest")
    rows = handed_out(session, path, sent, "bybit", list(symbols.values()), streams, enough)
    names = (
        "lastPrice",
        "highPrice24h",
        "lowPrice24h",
        "volume24h",
        "turnover24h",
        "price24hPcnt",
        "markPrice",
        "indexPrice",
    )
    columns = ["last", "high_24h", "low_24h", "volume_24h", "quote_volume_24h", "pct_24h", "mark", "index"]
    for key, kept in tickers.items():
        found = rows[key, "ticker"]
        assert found["ts_event"].tolist() == found["available_at"].tolist() == [at for at, _ in kept]
        for row, (_, state) in zip(found[columns].tolist(), kept):
            assert row == pytest.approx([float(state[name]) for name in names], rel=1e-12)
        for at, state in spaced(told[key], MINUTE_NS)[:1]:
            rate, interest = rows[key, "funding"][0], rows[key, "open_interest"][0]
            assert (rate["available_at"], rate["predicted"], rate["interval_h"]) == (at, 1, 8.0)
            assert rate["rate"] == float(state["fundingRate"])
            assert (rate["mark"], rate["index"]) == (float(state["markPrice"]), float(state["indexPrice"]))
            assert 0 < rate["ts_next"] - at <= 8 * HOUR_NS
            assert (interest["available_at"], interest["oi_base"]) == (at, float(state["openInterest"]))
            assert interest["oi_usd"] == float(state["openInterestValue"])
            assert interest["oi_usd"] / interest["oi_base"] == pytest.approx(rate["mark"], rel=0.01)
    for (_, stream), found in rows.items():
        if stream != "funding":
            assert not faults(stream, found).any()


def test_tickers_of_okx(market_data):
    session = session_of("OKX", market_data)

    def sent(frame):
        arg = frame.get("arg", {})
        return frame if (arg.get("channel"), arg.get("instId")) == ("tickers", "BTC-USDT") and "data" in frame else None

    frames = [frame["data"][0] for frame in filter(None, map(sent, session.frames["/ws/v5/public"]))]
    kept = spaced([(int(data["ts"]) * MS, data) for data in frames], SECOND_NS // 2)
    assert len(kept) > 3

    def enough(rows):
        counts = [len(rows.get(("okx:BTC/USDT", stream), ())) for stream in ("ticker", "top")]
        return counts == [len(kept), len(frames)]

    rows = handed_out(session, "/ws/v5/public", sent, "okx", ["BTC/USDT"], ("top", "ticker"), enough)
    found = rows["okx:BTC/USDT", "ticker"]
    assert found["available_at"].tolist() == [at for at, _ in kept]
    for row, (_, data) in zip(found, kept):
        said = [float(data[name]) for name in ("last", "high24h", "low24h", "vol24h", "volCcy24h")]
        assert row[["last", "high_24h", "low_24h", "volume_24h", "quote_volume_24h"]].tolist() == pytest.approx(said)
        assert isnan(row["mark"])
    quotes = rows["okx:BTC/USDT", "top"]
    assert quotes[["bid", "bid_qty", "ask", "ask_qty"]].tolist() == [
        tuple(float(data[name]) for name in ("bidPx", "bidSz", "askPx", "askSz")) for data in frames
    ]


def test_quotes_that_ccxt_reads_otherwise_are_left_to_it(market_data, monkeypatch):
    parse = ccxt.pro.binance.parse_ws_ticker

    def changed(client, message, kind):
        told = parse(client, message, kind)
        return told | {"bidVolume": 2.0 * told["bidVolume"]}

    monkeypatch.setattr(ccxt.pro.binance, "parse_ws_ticker", changed)
    session = session_of("BINANCE_FUTURES", market_data)

    def sent(frame):
        return frame["data"] if frame["stream"] == "sushiusdt@bookTicker" else None

    frames = list(filter(None, map(sent, session.frames["/stream"])))
    assert len(frames) > 20
    key = ("binance:SUSHI/USDT:USDT", "top")

    def enough(rows):
        return len(rows.get(key, ())) == len(frames)

    rows = handed_out(session, "/stream", sent, "binance", ["SUSHI/USDT:USDT"], ("top",), enough)[key]
    assert rows["bid_qty"].tolist() == [2.0 * float(frame["B"]) for frame in frames]
