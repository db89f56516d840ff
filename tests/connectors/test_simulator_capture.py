"""A captured session that the local exchange serves: trades, book and best prices reach a client as they were recorded."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from simulator_books import BinanceBook, listening, moving, numbers, snapshot, told_since
from simulator_clients import LINEAR, SPOT, START_NS, get, loopback_only, symbol_of, unified  # noqa: F401

from connectors.simulator.exchange import Exchange
from events.errors import InputError

pytestmark = pytest.mark.usefixtures("loopback_only")


def line(time_ns, stream, data):
    return f"{time_ns} " + json.dumps({"stream": "btcusdt@" + stream, "data": data} if stream else data)


def write(folder, lines):
    path = folder / "session.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def small():
    """Ten seconds: a trade and an update a second, a best price after every update."""
    lines = [
        line(0, None, {"lastUpdateId": 100, "bids": [["10.0", "1.0"], ["9.5", "2.0"]], "asks": [["10.5", "1.5"]]}),
    ]
    for k in range(10):
        at_ms = 1_700_000_000_000 + 1_000 * k
        ids = {"U": 98 + 3 * k, "u": 100 + 3 * k}
        told = {"b": [["10.0", f"{k}.25"], ["9.0", f"{k % 2}.000"]], "a": []}
        best = {"u": ids["u"], "b": "10.0", "B": f"{k}.25" if k else "1.0", "a": "10.5", "A": "1.5"}
        trade = {"t": k, "p": "10.5", "q": "0.125", "T": at_ms - 10, "m": k % 2 == 0}
        lines.append(line(at_ms, "trade", {"e": "trade", "E": at_ms, "s": "BTCUSDT", **trade}))
        lines.append(line(at_ms, "depth@100ms", {"e": "depthUpdate", "E": at_ms, "s": "BTCUSDT", **ids, **told}))
        lines.append(line(at_ms, "bookTicker", {"s": "BTCUSDT", **best}))
    return lines


def test_a_small_session_by_hand(tmp_path):
    async def run():
        start_ns = 1_700_000_304_600_000_000  # five minutes later: it is moved by whole minutes
        with Exchange(recording=write(tmp_path, small()), speed=0, start_ns=start_ns) as exchange:
            assert (exchange.synthetic, exchange.instruments) == (False, (SPOT,))
            async with listening(exchange, SPOT, "depth@100ms", "bookTicker") as ws:
                told = await snapshot(exchange, SPOT)
                exchange.advance(10)
                frames = await told_since(ws)
        updates = [frame for frame in frames if "U" in frame]
        assert (told["lastUpdateId"], told["bids"]) == (112, [["10.0", "4.250"], ["9.5", "2.000"]])
        assert [(frame["U"], frame["u"]) for frame in updates] == [(98 + 3 * k, 100 + 3 * k) for k in range(5, 10)]
        assert updates[-1]["b"] == [["10.0", "9.250"], ["9.0", "1.000"]]
        assert told["asks"] == [["10.5", "1.500"]]
        assert [frame["E"] for frame in updates] == [1_700_000_300_000 + 1_000 * k for k in range(5, 10)]
        best = [frame for frame in frames if "B" in frame]
        assert [(one["u"], one["B"]) for one in best] == [(frame["u"], frame["b"][0][1]) for frame in updates]

    asyncio.run(run())


def test_without_a_snapshot_the_book_is_that_of_the_model(tmp_path):
    async def run():
        with Exchange(recording=write(tmp_path, small()[1:]), speed=0, start_ns=START_NS) as exchange:
            told = await snapshot(exchange, SPOT)
            assert (told["asks"][0][0], len(told["asks"])) == ("10.5", 36)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["1 {]"], "cannot be served as a captured session"),
        (["nothing"], "cannot be served as a captured session"),
        (small()[:1], "holds no trades: there is nothing to serve"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path, lines, sentence):
    with pytest.raises(InputError, match=sentence):
        Exchange(recording=write(tmp_path, lines))
    plain = tmp_path / "plain.gz"
    plain.write_text("not compressed")
    with pytest.raises(InputError, match="cannot be served as a captured session"):
        Exchange(recording=plain)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "instrument"), [("spot_btcusdt_20240808", SPOT), ("hist_usdm_btcusdt_20240718", LINEAR)]
)
def test_a_recorded_book_passes_through(market_data, name, instrument):
    path = market_data / "hftbacktest" / f"{name}.gz"
    with gzip.open(path, "rt") as lines:
        recorded = [json.loads(text.split(" ", 1)[1])["data"] for text in lines if '"stream"' in text]

    async def run():
        with Exchange(recording=path, speed=0, start_ns=START_NS) as exchange:
            async with listening(exchange, instrument, "depth@100ms", "bookTicker") as ws:
                kept = BinanceBook(await snapshot(exchange, instrument))
                first_id = kept.id
                exchange.advance(30)
                frames = await told_since(ws)
                checked = BinanceBook(await snapshot(exchange, instrument))
            traded = exchange.traded(instrument)
            async with unified(exchange, "binance", enableRateLimit=False) as c, moving(exchange, 0.02):
                compared = 0
                while compared < 3:
                    book = await c.watch_order_book(symbol_of(instrument))
                    told = await snapshot(exchange, instrument)
                    if book["nonce"] == told["lastUpdateId"]:
                        compared += 1
                        assert [list(level) for level in book["asks"][:100]] == numbers(told["asks"][:100])
        updates = [frame for frame in frames if "U" in frame]
        was = {one["u"]: one for one in recorded if "U" in one}
        assert len(updates) > 250
        assert updates[0]["u"] > first_id
        for frame in updates:
            one = was[frame["u"]]
            assert (frame["U"], frame.get("pu")) == (one["U"], one.get("pu"))
            assert (numbers(frame["b"]), numbers(frame["a"])) == (numbers(one["b"]), numbers(one["a"]))
            kept.update(frame) if instrument == SPOT else kept.change(frame["b"], frame["a"])
        assert kept.sorted(50) == checked.sorted(50)
        trades = {(float(one["p"]), float(one["q"]), -1 if one["m"] else 1) for one in recorded if "t" in one}
        assert len(traded) > 50
        assert set(traded[["price", "qty", "side"]].tolist()) <= trades
        best = {one["u"]: [one["b"], one["B"], one["a"], one["A"]] for one in recorded if "B" in one}
        shown = [frame for frame in frames if "B" in frame and frame["u"] in best]
        assert len(shown) > 1_000
        for frame in shown:
            assert [float(frame[name]) for name in "bBaA"] == [float(text) for text in best[frame["u"]]]

    asyncio.run(asyncio.wait_for(run(), 60))
