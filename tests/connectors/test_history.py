"""The past of a market over REST: trades and funding rates of a span, exactly those that there were, and what is missing told."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest
from history_stand_in import BybitHistory, CoinbaseHistory, OkxHistory
from simulator_clients import KRAKEN, LINEAR, SPOT, by_hand, loopback_only  # noqa: F401

from connectors.exchange.client import make_client
from connectors.exchange.funding import intervals_h
from connectors.exchange.history import History
from connectors.exchange.sequencer import Hole
from connectors.simulator.quotes import funding_rate
from events.errors import InputError
from events.rows import FUNDING, TRADE
from events.schema import NEVER
from events.times import HOUR_NS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]
FIELDS = ["trade_id", "available_at", "price", "qty", "side"]


def asked(exchange, address, symbol, ask):
    """All that `ask(history)` yields in one array, and the history."""

    async def run():
        async with History(exchange, symbol, address) as history:
            history.client.enableRateLimit = False
            parts = [rows async for rows in ask(history)]
            return parts, history

    parts, history = asyncio.run(run())
    return np.concatenate(parts) if parts else np.zeros(0, TRADE), history


def simulated(market, instrument, ask):
    exchange, _, symbol = instrument.partition(":")
    return asked(exchange, market.url.removeprefix("http://"), symbol, ask)


@pytest.fixture(scope="module")
def market():
    with by_hand(activity=0.4, history_days=1, funding_minutes=60) as exchange:
        exchange.advance(30)
        for instrument in (SPOT, LINEAR):
            exchange.burst(instrument, 2_500)
        exchange.burst(KRAKEN, 999)
        exchange.advance(60)
        yield exchange


def ledger(market, instrument):
    of = market._world.ledger(instrument)
    return of.rows(0, of.next_id)


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
def test_trades_of_a_span_are_those_of_the_ledger(market, instrument):
    traded = ledger(market, instrument)
    times = traded["available_at"]
    burst = market.now_ns - 60 * 10**9
    assert len(traded) > 10_000
    for since, until in ((0, market.now_ns), (times[5], times[5_005]), (times[10], times[10] + 1), (burst, burst + 1)):
        rows, history = simulated(market, instrument, lambda h, a=since, b=until: h.trades(int(a), int(b)))
        inside = traded[(times >= since) & (times < until)]
        assert rows.dtype == TRADE
        assert rows[FIELDS].tolist() == inside[FIELDS].tolist()
        assert (rows["seq"] == rows["trade_id"]).all()
        assert history.holes == []


def test_a_span_in_which_nothing_was_traded_is_empty(market):
    for since, until in ((0, 10), (market.now_ns + HOUR_NS, market.now_ns + 2 * HOUR_NS)):
        assert not len(simulated(market, SPOT, lambda h, a=since, b=until: h.trades(a, b))[0])


def test_faults_of_rest_change_nothing(market):
    traded = ledger(market, SPOT)
    for fault, count in (("rest-429", 1), ("rest-html", 3), ("rest-429", 1)):
        market.fault(fault, count)
    try:
        rows, history = simulated(market, SPOT, lambda h: h.trades(0, market.now_ns))
    finally:
        market.clear()
    inside = traded[traded["available_at"] < market.now_ns]
    assert rows[FIELDS].tolist() == inside[FIELDS].tolist()
    assert history.counts["failed_calls"] >= 4


def test_more_than_a_page_of_one_time_cannot_be_had_of_kraken_and_is_told():
    with by_hand(KRAKEN) as market:
        market.trade(KRAKEN, 50_000, 1, 1)
        market.advance(1)
        market.burst(KRAKEN, 2_500)
        market.advance(1)
        market.trade(KRAKEN, 50_001, 1, 1)
        market.advance(1)
        traded = ledger(market, KRAKEN)
        rows, history = simulated(market, KRAKEN, lambda h: h.trades(0, market.now_ns))
        assert rows["trade_id"].tolist() == [*range(1_000, 2_001), 3_501]
        times = traded["available_at"]
        assert history.holes == [Hole(times[1], times[-1], 2_001, 3_500)]


def test_calls_for_trades_are_priced_as_binance_does():
    """A weight of 4 a call, of 6,000 a minute: not above 25 calls a second."""

    async def run():
        client = make_client("binance", ["BTC/USDT"])
        paid = []

        async def throttle(cost):
            paid.append(cost * client.rateLimit)
            raise KeyError("asked")

        client.throttle = throttle
        with suppress(KeyError):
            await client.publicGetAggTrades({"symbol": "BTCUSDT"})
        with suppress(KeyError):
            await client.publicGetDepth({"symbol": "BTCUSDT", "limit": 5})
        assert paid == [40.0, 50.0]

    asyncio.run(run())


def made(server, count):
    symbol = server.symbols[0]
    for _ in range(count):
        server._now_ns += server.random.randrange(3) * 10**6
        server.make(symbol)
    return symbol, server.traded[symbol]


def of_server(trades):
    return [(t["id"], t["ns"], t["price"], t["qty"], t["side"]) for t in trades]


@pytest.mark.parametrize(("exchange", "server_class"), [("okx", OkxHistory), ("coinbase", CoinbaseHistory)])
def test_trades_of_venues_that_go_backwards(exchange, server_class):
    with server_class(seed=2) as server:
        symbol, trades = made(server, 4_321)
        since, until = trades[10]["ns"], trades[4_000]["ns"]
        rows, history = asked(exchange, server.address, symbol, lambda h: h.trades(since, until))
        assert rows[FIELDS].tolist() == of_server([t for t in trades if since <= t["ns"] < until])
        assert history.holes == []


@pytest.mark.parametrize(("exchange", "server_class"), [("okx", OkxHistory), ("coinbase", CoinbaseHistory)])
@pytest.mark.parametrize("missing", [1, 150, 5_000])
def test_ids_that_the_venue_does_not_serve_are_told(exchange, server_class, missing):
    with server_class(seed=2) as server:
        symbol, trades = made(server, 3_000)
        for trade in trades[1_500:]:
            trade["id"] += missing
        since, until = trades[10]["ns"], trades[2_900]["ns"]
        rows, history = asked(exchange, server.address, symbol, lambda h: h.trades(since, until))
        assert rows[FIELDS].tolist() == of_server([t for t in trades if since <= t["ns"] < until])
        before, after = trades[1_499], trades[1_500]
        assert history.holes == [Hole(before["ns"], after["ns"], before["id"] + 1, after["id"] - 1)]


def test_what_okx_cannot_tell_and_bybit_does_not_serve_is_a_sentence():
    with OkxHistory() as server:
        symbol, trades = made(server, 200)
        with pytest.raises(InputError, match=r"okx has no trade of BTC/USDT from before .*three months\. Begin later"):
            asked("okx", server.address, symbol, lambda h: h.trades(1, trades[-1]["ns"]))
    with BybitHistory() as server:
        symbol, _ = made(server, 5)
        with pytest.raises(InputError, match=r"bybit serves the newest trades alone \(60 of spot"):
            asked("bybit", server.address, symbol, lambda h: h.trades(0, 10**19))


def test_funding_of_the_local_exchange(market):
    until = market.now_ns
    rows, _ = simulated(market, LINEAR, lambda h: h.funding(until - 20 * HOUR_NS, until))
    of = market._world.ledger(LINEAR)
    numbers = range(-(-(until - 20 * HOUR_NS) // HOUR_NS), until // HOUR_NS + 1)
    assert rows.dtype == FUNDING
    assert rows["ts_event"].tolist() == [n * HOUR_NS for n in numbers]
    assert rows["rate"].tolist() == [funding_rate(of, 1, n) for n in numbers]
    assert (rows["interval_h"] == 1.0).all()
    assert not rows["predicted"].any()
    marks = [float(of.listing.price_text(of.price_before(of.id_at(n * HOUR_NS)))) for n in numbers]
    assert rows["mark"] == pytest.approx(marks)
    assert np.isnan(rows["index"]).all()
    assert (rows["ts_next"] == NEVER).all()


def test_spot_has_no_funding(market):
    for instrument in (SPOT, KRAKEN):
        with pytest.raises(InputError, match=r"has no funding rates: perpetual contracts have"):
            simulated(market, instrument, lambda h: h.funding(0, market.now_ns))


@pytest.mark.parametrize(("exchange", "server_class"), [("okx", OkxHistory), ("bybit", BybitHistory)])
def test_funding_page_by_page_and_over_a_change_of_its_interval(exchange, server_class):
    with server_class() as server:
        settled = server.settled = server.settle([8] * 250 + [4] * 300)
        symbol = server.contract
        since, until = settled[1][0], settled[-2][0]
        rows, _ = asked(exchange, server.address, symbol, lambda h: h.funding(since, until))
        assert rows["ts_event"].tolist() == [at for at, _ in settled[1:-2]]
        assert rows["rate"].tolist() == [rate for _, rate in settled[1:-2]]
        assert rows["interval_h"].tolist() == [8.0] * 249 + [4.0] * 298
        one, _ = asked(exchange, server.address, symbol, lambda h: h.funding(since, since + 1))
        assert one[["ts_event", "interval_h"]].tolist() == [(since, 8.0)]
        server.settled = settled[:1]
        with pytest.raises(InputError, match="has settled once only"):
            asked(exchange, server.address, symbol, lambda h: h.funding(0, until))
        server.settled = []
        assert not len(asked(exchange, server.address, symbol, lambda h: h.funding(0, until))[0])


def test_settlements_that_are_some_milliseconds_late_have_whole_intervals():
    times = np.arange(10) * 8 * HOUR_NS + np.array([0, 3, 1, 0, 7, 0, 2, 9, 4, 5]) * 1_000_000
    assert intervals_h(times).tolist() == [8.0] * 10
